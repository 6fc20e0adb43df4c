"""Cgroups that systemd makes, as transient scopes: the scope, its properties, and the way to ask for them."""
