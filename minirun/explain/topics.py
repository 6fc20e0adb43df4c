"""The chapters of `minirun explain TOPIC`: what a group of steps is about, in a few lines, with pages to read on."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.record import Record


class Chapter(Record):
    """One topic: a title, a few lines, the manual pages to read next and a command that shows it."""

    title: str
    text: str
    man: str
    attempt: str


CHAPTERS = {
    "hooks": Chapter(
        "Hooks: programs of the caller at fixed moments",
        """\
An OCI bundle may name programs that the runtime runs while it makes, starts
and deletes a container: prestart and createRuntime on the host, once all is
mounted; createContainer in the container's mount namespace, before the change
of root; startContainer inside, just before the command; poststart and
poststop on the host, afterwards. Each gets the container's state as JSON on
standard input. If a hook before the start fails, the container fails.
Podman and others wire networks and devices this way; 'minirun run' needs
none, because it does its own wiring between create and start.""",
        "environ(7); runtime-spec, config.md, POSIX-platform Hooks",
        "minirun-oci features",
    ),
    "namespaces": Chapter(
        "Namespaces: what a process can see",
        """\
A container is an ordinary process of the host. The kernel shows it other
resources than it shows its neighbours: each kind of resource has a namespace,
and a process sees only what is in its own.

  mount    its own table of mounts
  pid      its own process numbers, the first process being PID 1
  network  its own interfaces, routes, ports and firewall
  uts      its own host name
  ipc      its own shared memory and message queues
  cgroup   its own cgroup as the root of the hierarchy
  user     its own user numbers (minirun shares the host's)

clone3(2) makes a process and its namespaces in one call; setns(2) enters
existing ones, which is all that 'exec' does. The cgroup namespace is made
later, by unshare(2): its root is the cgroup of the caller at that moment. A
namespace lives as long as a process is in it or a descriptor of it is open.
When PID 1 ends, the kernel kills all other processes of the PID namespace.""",
        "namespaces(7), clone(2), setns(2), unshare(2), pid_namespaces(7)",
        "ls -l /proc/self/ns; lsns",
    ),
    "overlayfs": Chapter(
        "overlayfs: many layers, one tree",
        """\
An image is a stack of read-only directories, the layers. overlayfs shows them
as one tree, with one writable directory on top, the upper directory, which
belongs to the container.

  Reading      takes the file of the topmost layer that has it.
  Writing      first copies the file to the upper directory ("copy-up").
  Deleting     leaves a whiteout there: a character device 0:0 that hides the
               file below.
  Replacing    a directory makes the new one opaque, by the extended attribute
               trusted.overlay.opaque.

So 100 containers of one image share its files on disk and in the page cache,
and starting one copies nothing. mount(2) takes at most a page of options,
which is why the layers' names are short: 127 of them must fit.""",
        "mount(8), Documentation/filesystems/overlayfs.rst",
        "minirun run --rm IMAGE mount -t overlay",
    ),
    "build": Chapter(
        "Building: a container for each step, a layer of what it leaves",
        """\
A Dockerfile is a list of steps. RUN starts a container on the layers so far,
with an empty upper directory; when its command has ended, what stands in that
directory is what the command has changed, and becomes the next layer. COPY
and ADD need no container: their layer is written straight from the files.
ENV, CMD and others change the image's config and no file.

Every layer is remembered under a key: the hash of the key before it, the
instruction, and, of files that are copied, their contents, owners and modes.
If all of that is the same the next time, the layer is taken from the cache,
and nothing runs. One difference changes this key and all that follow; so what
changes often should come late in a Dockerfile.

Stages that do not need each other are built by processes of their own at the
same time, and a stage that the target does not need is not built at all.""",
        "Dockerfile reference; image-spec: layer.md; mount(8), overlayfs",
        "minirun --explain build .",
    ),
    "layers": Chapter(
        "Layers: an image as files",
        """\
An image is a JSON document, the config, and a list of layers, each a tar
archive with the files that one step of its build added, changed or removed.
Everything is named by the SHA-256 of its content: what has the right name is
whole, and what two images share is stored once.

  digest    of the archive as it is transferred, mostly compressed
  diff_id   of the archive uncompressed; the config lists these, so that the
            image's id, the digest of the config, fixes them all

A file named .wh.NAME deletes NAME of the layers below, .wh..wh..opq hides all
that the directory had. Unpacking turns both into overlayfs's own form. The
archive comes from anywhere: names with "..", links that lead out of the
directory and devices are treated as an attack.""",
        "image-spec: config.md, layer.md; tar(5), openat2(2)",
        "minirun history IMAGE",
    ),
    "pivot_root": Chapter(
        "pivot_root: leaving the host's files behind",
        """\
chroot(2) only changes where a process's paths begin. The old root is still
mounted, and a process with CAP_SYS_CHROOT climbs out with a second chroot.
pivot_root(2) exchanges the root mount of the whole mount namespace; the old
root can then be unmounted, and no path leads to the host any more.

  1. The new root must be a mount point: bind it onto itself if it is not.
  2. pivot_root(".", ".") from inside it stacks the old root on top of the new
     one, so that no directory is needed for it.
  3. umount2(".", MNT_DETACH) takes the old root away.

Before that, the mounts must not be shared with the host, or the unmounting
would spread there.""",
        "pivot_root(2), mount_namespaces(7), umount2(2)",
        "sudo unshare --mount; then bind-mount, cd and pivot_root",
    ),
    "mounts": Chapter(
        "Mounts: the tree is assembled from pieces",
        """\
The container's files are one tree, but many mounts: the image's overlay,
/proc, /dev, volumes, single files such as /etc/hosts. A bind mount shows an
existing directory or file of the host at a second place; 'ro' on it holds for
that place alone. tmpfs keeps files in memory and goes with the container.

systemd makes all mounts of the host "shared": what is mounted below one
appears in every copy of the namespace. A private (rprivate) copy cuts this tie
in both directions, a slave (rslave) in one: the host's new mounts still
arrive.

Paths inside the image are not trusted: /proc could be a symbolic link to the
host's /etc. So each target is opened with openat2(RESOLVE_IN_ROOT), which
follows links as if the image were the whole world, and then used as a
descriptor only.""",
        "mount(2), open_tree(2), move_mount(2), mount_setattr(2), openat2(2), mount_namespaces(7)",
        "findmnt -o TARGET,SOURCE,PROPAGATION",
    ),
    "volumes": Chapter(
        "Volumes: data that outlives a container",
        """\
What a container writes is in its own layer, and goes with it. A volume is a
directory beside the containers, under a name, that is bound into each one that
asks for it: the same files for all, at the speed of the disk, as no overlay is
in between.

At its first use a volume is empty, and would hide what the image has there. So
it takes that first: files, owners, modes, attributes. The copy is made beside
it and moved in when it is whole; whatever is killed, no half of it counts.

A volume may also be a file system of its own: options say what mount(2) is to
mount. minirun does that in the mount namespace of each container's monitor and
not on the host, where a crash would leave it. tmpfs has no device by which two
mounts could be the same, so the second container gets a clone (open_tree(2))
of what the first one has.

Volumes without a name go with their containers, the others when somebody says
so, and none that a container has.""",
        "mount(2), open_tree(2), mount_namespaces(7), rename(2)",
        "minirun volume create data; minirun --explain run --rm -v data:/data busybox true",
    ),
    "procfs": Chapter(
        "/proc and /sys: the kernel as files",
        """\
/proc shows the processes of the PID namespace of whoever mounted it, so a
container needs its own. Much else in it belongs to no namespace: /proc/sys and
/proc/sysrq-trigger steer the host's kernel, /proc/keys and /proc/kcore tell
its secrets. Root in the container is root here too, and therefore

  - these switches are bound onto themselves read-only,
  - secrets are covered: files by /dev/null, directories by an empty tmpfs,
  - /sys, which configures devices, is mounted read-only.

What is covered is checked first to be what it claims, by file system type and
inode: an image must not be able to have something else covered in its place.
--security-opt systempaths=unconfined leaves all this out.""",
        "proc(5), sysfs(5)",
        "minirun run --rm IMAGE sh -c 'echo 1 > /proc/sys/kernel/panic'",
    ),
    "devices": Chapter(
        "/dev: a handful of devices",
        """\
A device node is only a number: character device 1:3 is /dev/null wherever it
lies. So /dev of a container is an empty tmpfs in which minirun makes null,
zero, full, random, urandom and tty, and links for /dev/fd and the standard
streams. The host's disks are missing, but with CAP_MKNOD, which containers
have, root could make their nodes. What forbids their use is the device cgroup:
in cgroup v2 a small BPF program that the kernel asks at each open and mknod.

--device adds a node and a rule; --privileged adds all nodes and allows
everything, so the container no longer protects the host.""",
        "mknod(2), null(4), random(4), Documentation/admin-guide/cgroup-v2.rst (Device controller)",
        "minirun run --rm IMAGE ls -l /dev",
    ),
    "cgroup": Chapter(
        "Control groups: how much a process may use",
        """\
A namespace hides, a cgroup limits. A cgroup is a directory in /sys/fs/cgroup;
the process numbers in cgroup.procs belong to it, and their children do too.
Controllers add files to it:

  memory.max    what exceeds it is reclaimed; if that fails, the OOM killer
                ends a process of the cgroup (exit code 137)
  cpu.max       "150000 100000": 150 ms of CPU time in each 100 ms, that is one
                and a half processors
  cpu.weight    the share when processors are scarce
  pids.max      fork(2) fails with EAGAIN beyond it

clone3 with CLONE_INTO_CGROUP starts the process inside, so that not one
instruction runs without limits. Where the old version 1 owns a controller,
version 2 cannot have it: then a limit is refused, never silently dropped.""",
        "cgroups(7), clone(2), Documentation/admin-guide/cgroup-v2.rst",
        "minirun info; cat /proc/self/cgroup",
    ),
    "capabilities": Chapter(
        "Capabilities: root's power in 41 pieces",
        """\
The kernel does not ask "is this root?" but "has it CAP_NET_ADMIN?". A
container's root gets 14 of the 41 capabilities: enough to install packages and
serve port 80, not to load modules, mount or set the clock.

  bounding     what any program in the container can ever get
  permitted    what this process may use; effective: what it uses now
  inheritable, ambient   passed on through exec; minirun leaves both empty

Another user than root starts with none in effect. --cap-drop ALL --cap-add
NET_BIND_SERVICE is a good habit. no_new_privs goes further: no set-user-id
program gains anything.""",
        "capabilities(7), prctl(2)",
        "minirun run --rm IMAGE grep Cap /proc/self/status; capsh --decode=a80425fb",
    ),
    "seccomp": Chapter(
        "seccomp: which system calls exist",
        """\
All containers share one kernel, and each of its some 400 system calls may hold
a bug. seccomp runs a small program of the classic BPF machine before each
call; it sees the number and the plain arguments, no memory, and says allow, or
fail with an errno, or kill. minirun's default allows what ordinary programs
use and refuses what manages the machine: mount, kexec, bpf, keyctl, new user
namespaces. A capability that is added brings its calls along.

clone3 fails with ENOSYS rather than EPERM: its flags lie behind a pointer
where the filter cannot look, and the C library then falls back to clone, where
it can.

The filter is loaded late, because minirun itself needs what it refuses. With
no_new_privs it comes after capabilities and users are given up; without, just
before, because loading it then needs CAP_SYS_ADMIN.""",
        "seccomp(2), bpf(2), syscalls(2)",
        "minirun run --rm IMAGE grep Seccomp /proc/self/status",
    ),
    "network": Chapter(
        "Network: a cable between two namespaces",
        """\
A fresh network namespace has a loopback interface, down, and nothing else. A
veth pair is a cable: what is sent into one end comes out of the other. One end
becomes eth0 of the container, the other is plugged into the bridge minirun0 of
the host, which is a switch; the bridge's own address is the container's
default route.

Towards the outside the host is a router: it forwards packets
(net.ipv4.ip_forward) and puts its own address in place of the container's
(masquerade), because no host outside knows a route to that.

When the network namespace dies, the kernel takes the veth pair along.""",
        "veth(4), bridge(8), network_namespaces(7), rtnetlink(7)",
        "ip link show type veth; minirun run --rm IMAGE ip route",
    ),
    "dns": Chapter(
        "Names: a server that only the container reaches",
        """\
On a network of your own ('minirun network create back', 'run --network back')
containers find each other by their names. A program asks the server that its
/etc/resolv.conf names, 127.0.0.11: a loopback address, so it is in the
container's own network namespace, and nobody else reaches it.

A socket belongs to the namespace in which it was made. So minirun's network
helper enters the namespace (setns), opens its sockets, goes back, and answers
by them from outside. They have ports of their own; in the container's nat
table a rule (DNAT) leads port 53 there, which stays free for programs.

It answers for containers of the same network: A by a name, PTR by an address.
What it does not know it asks of the host's servers. On the default bridge
there is no such server, as in Docker.""",
        "resolv.conf(5), setns(2), network_namespaces(7), iptables-extensions(8), RFC 1035",
        "minirun exec web cat /etc/resolv.conf",
    ),
    "ports": Chapter(
        "Published ports: an address for two",
        """\
--publish 8080:80 writes rules into the host's packet filter: a packet to port
8080 of the host gets the container's address and port 80 as its destination
(DNAT); the kernel remembers the connection and translates the answers back.

  PREROUTING   packets that arrive from outside and from other containers
  OUTPUT       packets that the host sends itself, also to 127.0.0.1
  POSTROUTING  a source address that can be answered, where a packet returns to
               the network that it came from

All of minirun's rules are in chains of its own and carry the container's id as
a comment, so what a killed command left behind is found in the kernel itself.
While the container runs the port is reserved: a second one gets "port is
already allocated".""",
        "iptables(8), iptables-extensions(8), conntrack(8)",
        "sudo iptables -t nat -S | grep minirun; minirun port CONTAINER",
    ),
    "terminal": Chapter(
        "Terminals: what --tty adds",
        """\
A pseudoterminal is a pair: what is written to the master arrives at the slave
as if typed, and the other way round. The container gets the slave as its
standard streams and controlling terminal, from a devpts of its own, so that it
is /dev/pts/0; minirun holds the master.

Meanwhile your own terminal is in raw mode: Ctrl-C is a byte like others,
travels into the container and is turned into SIGINT there. SIGWINCH tells
minirun that your window has changed; it sets the size of the container's
terminal. Ctrl-P Ctrl-Q leaves the container running.""",
        "pty(7), termios(3), ioctl_tty(2), devpts in mount(8)",
        "minirun run --rm -it IMAGE sh -c 'tty; stty size'",
    ),
    "exec": Chapter(
        "exec: the last step",
        """\
Up to here Python has built the container's world. The process that becomes the
user's command must not take any of this with it: descriptors of the host
(CVE-2024-21626), a way back to its own executable (CVE-2019-5736), rights. So
Python executes a tiny static program from a sealed copy in memory. In order, it

  1. closes all descriptors but those that are meant for the command,
  2. loads the filter, unless no_new_privs lets that wait until after 3,
  3. gives up capabilities of the bounding set, groups and user ids, and then
     all other capabilities that the command is not to have,
  4. waits for the start: a byte in the fifo exec.fifo,
  5. executes the command.

An error here has three exit codes, after the shell's: 127 when the command
does not exist, 126 when it cannot be executed, 125 when the container itself
could not be made.""",
        "execve(2), memfd_create(2), close_range(2), fcntl(2) (file sealing)",
        "minirun run --rm IMAGE no-such-command; echo $?",
    ),
    "monitor": Chapter(
        "The monitor: one small process per container",
        """\
Somebody must be the parent of a container's first process: to reap it, to
note how it ended, to write its output to the log while nobody watches. minirun
has no daemon for that. Each container has a monitor of its own, a small C
program that the process which made the container turns into by exec: so it
keeps its child.

It holds a lock for as long as it lives. A lock that is free means that there
is no monitor any more, whatever has become of it.""",
        "waitid(2), pidfd_open(2), flock(2), unix(7)",
        "minirun run -d IMAGE sleep 60; pstree -p | grep monitor",
    ),
    "cleanup": Chapter(
        "Cleaning up: after an end nobody planned",
        """\
minirun has no daemon that remembers. Any of its processes may be killed at any
point, so there is no knowledge that cannot be found again: mounts are in a
namespace that dies with its processes, a lock that nobody holds means that a
container's monitor is gone, and cgroups, interfaces and rules carry the
container's id. Each command looks for such leftovers and removes them.""",
        "flock(2), mount_namespaces(7), cgroups(7)",
        "sudo kill -9 (a monitor); minirun --explain ps",
    ),
}
ALSO = {
    "proc": "procfs",
    "sysfs": "procfs",
    "tmpfs": "mounts",
    "devpts": "terminal",
    "mqueue": "namespaces",
    "cgroup2": "cgroup",
    "bridge": "network",
    "veth": "network",
    "forwarding": "network",
    "firewall": "ports",
}
"""Names that steps use for a part of a chapter."""


def chapter(topic: str) -> Chapter:
    """Return the chapter about `topic`. Raises MinirunError with the topics there are."""
    found = CHAPTERS.get(ALSO.get(topic, topic))
    if found is None:
        raise MinirunError(f"there is no chapter about '{topic}'", f"Topics: {', '.join(CHAPTERS)}.", exit_code=1)
    return found
