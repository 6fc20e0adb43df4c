"""A registry that serves the store's images, for pulling only, as a class pulls from its teacher's machine.

    connections   a thread for each client, within limits, and files that the kernel itself sends
    requests      what came over the wire, read strictly; answers: what goes back
    api           what each path means; htpasswd: who may ask
    plans         under which manifest an image is served, and as which blobs
    offers        these blobs, made when the image is first asked for; blobs: the files
    serving       all of them together

Imported for `minirun registry serve` only.

Source: https://github.com/opencontainers/distribution-spec (1.1), "Pull" and "Content Discovery".
"""
