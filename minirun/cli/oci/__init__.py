"""`minirun-oci`: runc's command line. `main` begins; a file for each group of verbs has functions and flags."""
