"""Networks for containers: addresses, the bridge and its firewall rules, published ports, name resolution.

`drivers` is the way in: one for each kind of network, all with the interface in `driver`. What needs netlink or
iptables is done by a helper process (`helper`), which is started on demand and ends when idle; `client` speaks to it.
"""
