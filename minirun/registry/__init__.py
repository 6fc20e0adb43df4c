"""Where images come from and go to: registries, which speak the OCI Distribution API over HTTP.

    reference_names   which registries a name may mean
    registries_conf   what /etc/containers/registries.conf says of them
    http/             connections: TLS, proxies, redirects, and what is tried again
    auth/             credentials, challenges, tokens
    client            the requests of the API: manifests, blobs, uploads, tags
    manifests         what the documents say, and which image of several is for this machine
    fetch, pull       layers in parallel, and an image into the store, all or nothing
    outgoing, push    an image as others get it, of which only what a registry lacks is sent

Source: https://github.com/opencontainers/distribution-spec (1.1), and Docker's Registry HTTP API V2 before it.
"""
