"""Networks for containers: addresses, the bridge and its firewall rules, published ports, name resolution.

`endpoints` is the way in. What needs netlink or iptables is done by a helper process (`helper`), which is started on
demand and ends when idle; `client` speaks to it.
"""
