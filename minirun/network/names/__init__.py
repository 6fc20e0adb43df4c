"""The names of containers on networks of the users': a name server at 127.0.0.11 in each of them.

notes       what a container is called, and where: files, which the commands write
zone        who has which name: the notes, in memory
answers     from the bytes of a query to those of its answer, where the zone has it
forwarding  other servers are asked for other names
resolver    sockets, and what comes in by them; in the network helper, as are the three above
"""
