"""`minirun-oci`: runc's command line. `main` begins; a file for each verb, or for a few, has functions and flags."""
