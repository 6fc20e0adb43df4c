"""The groups of system calls that the default filter lets through or refuses, each with its reason.

seccomp_default.py makes the filter of them.

Names of other architectures and of 32-bit programs stand beside those of x86-64; a filter leaves out what its
architecture lacks.
"""

from __future__ import annotations

from minirun.model.record import Record

# The architectures whose programs also run on the same kernel: 32-bit programs, and x32 on x86-64. A filter that did
# not know them would have to kill them; one that forgot them would let them call anything by other numbers.
SUB_ARCHITECTURES = {
    "amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "386": ("SCMP_ARCH_X86",),
    "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "arm": ("SCMP_ARCH_ARM",),
    "mips64": ("SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"),
    "mips64le": ("SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}


class Group(Record):
    """System calls that share one answer for one reason.

    `syscalls` are names separated by white space. `capabilities`: any one of them is enough to be let through.
    `architectures` are those ("amd64") that the group is for; () is all.
    """

    title: str
    why: str
    syscalls: str
    capabilities: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return self.syscalls.split()


# ---- always allowed -------------------------------------------------------------------------------------------------

ALLOWED = (
    Group(
        "files and directories",
        "Which files there are is the mount namespace's business, and whose they are is decided on each access.",
        """
        open openat openat2 creat close close_range read pread64 readv preadv preadv2 write pwrite64 writev pwritev
        pwritev2 lseek _llseek dup dup2 dup3 fcntl fcntl64 ioctl flock fsync fdatasync sync syncfs sync_file_range
        truncate truncate64 ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 readahead copy_file_range
        sendfile sendfile64 splice tee vmsplice
        access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx
        statfs statfs64 fstatfs fstatfs64 getdents getdents64 getcwd chdir fchdir
        mkdir mkdirat rmdir link linkat symlink symlinkat readlink readlinkat unlink unlinkat
        rename renameat renameat2 mknod mknodat umask chmod fchmod fchmodat fchmodat2
        chown chown32 fchown fchown32 fchownat lchown lchown32 utime utimes utimensat utimensat_time64 futimesat
        getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
        listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
        file_getattr file_setattr name_to_handle_at cachestat statmount listmount
        """,
    ),
    Group(
        "waiting for events",
        "Descriptors that a program already holds, and timers of its own.",
        """
        poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
        eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
        timerfd_settime64 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
        io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64
        """,
    ),
    Group(
        "memory",
        "A process may do with its own address space what it likes.",
        """
        brk mmap mmap2 munmap mremap mprotect madvise mincore msync mseal mlock mlock2 mlockall munlock munlockall
        remap_file_pages memfd_create memfd_secret map_shadow_stack pkey_alloc pkey_free pkey_mprotect membarrier
        process_mrelease
        """,
    ),
    Group(
        "processes and threads",
        "The PID namespace shows a container its own processes only, so these reach no other.",
        """
        fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp setpgid
        getsid setsid set_tid_address set_thread_area get_thread_area set_robust_list get_robust_list rseq
        futex futex_time64 futex_waitv futex_wake futex_wait futex_requeue restart_syscall
        pidfd_open pidfd_send_signal prctl getrusage times
        getrlimit ugetrlimit setrlimit prlimit64 getpriority setpriority ioprio_get ioprio_set getcpu
        sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
        sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
        sched_rr_get_interval sched_rr_get_interval_time64
        """,
    ),
    Group(
        "signals",
        "The kernel lets a process signal only those it can see and whose user it is.",
        """
        kill tkill tgkill pause alarm sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending rt_sigprocmask
        rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
        """,
    ),
    Group(
        "users, groups and capabilities",
        "Who may become whom is decided by capabilities, which a container has few of.",
        """
        getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid
        getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32
        setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32
        capget capset
        """,
    ),
    Group(
        "network",
        "The network namespace holds the container's own interfaces, routes and ports. For socket itself see below.",
        """
        socketpair socketcall bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt
        send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64
        """,
    ),
    Group(
        "talking between processes",
        "The IPC namespace has its own queues, semaphores and shared memory.",
        """
        pipe pipe2 ipc msgget msgsnd msgrcv msgctl semget semop semtimedop semtimedop_time64 semctl
        shmget shmat shmdt shmctl mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64
        mq_timedreceive mq_timedreceive_time64
        """,
    ),
    Group(
        "reading the clock, and timers",
        "Reading is free. adjtimex and its kin only read unless the process has CAP_SYS_TIME.",
        """
        time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
        clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64 getitimer setitimer
        timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
        """,
    ),
    Group("about the machine", "Nothing but numbers and names.", "uname sysinfo getrandom"),
    Group(
        "giving up more",
        "A process can lock itself in further; neither can let it out of anything.",
        "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    ),
    Group(
        "debugging the container's own processes",
        "strace and gdb work. Before Linux 4.8 a tracer could change a call after the filter had judged it; minirun "
        "needs a newer kernel anyway. Only processes of the same user in the same PID namespace can be traced.",
        "ptrace process_vm_readv process_vm_writev",
    ),
    Group(
        "the host's probes",
        "When the host traces a function of a program, the kernel plants these calls into it; refused, it would crash.",
        "uretprobe uprobe",
    ),
    Group(
        "segments and thread pointers of x86",
        "C libraries keep the thread pointer there; modify_ldt serves 16-bit and old Windows programs.",
        "arch_prctl modify_ldt",
        architectures=("amd64",),
    ),
    Group("segments of 32-bit x86", "As above.", "modify_ldt", architectures=("386",)),
    Group(
        "peculiarities of Arm",
        "Other argument orders of ordinary calls, the thread pointer, and flushing the instruction cache.",
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        architectures=("arm", "arm64"),
    ),
    Group(
        "peculiarities of POWER",
        "Another argument order, and switching between user contexts.",
        "sync_file_range2 swapcontext",
        architectures=("ppc64le",),
    ),
    Group(
        "peculiarities of RISC-V",
        "Flushing the instruction cache, and asking what the processor can do.",
        "riscv_flush_icache riscv_hwprobe",
        architectures=("riscv64",),
    ),
    Group(
        "peculiarities of IBM Z",
        "Memory of PCI devices that the process has mapped, and instrumentation of its own run time.",
        "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
        architectures=("s390x",),
    ),
)

# ---- allowed with a capability --------------------------------------------------------------------------------------
#
# The kernel itself asks for these capabilities. Refusing the call as well to a container that lacks them costs nothing
# and means that a mistake in that check is out of reach; allowing it to one that was given them with --cap-add is what
# the user asked for.

WITH_CAPABILITY = (
    Group(
        "mounting",
        "A mount made inside could uncover what the runtime has hidden, such as /proc/sysrq-trigger, or hand the "
        "kernel a crafted file system: their parsers trust what they read.",
        """
        mount umount umount2 mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
        """,
        ("CAP_SYS_ADMIN",),
    ),
    Group(
        "making and entering namespaces",
        "Inside a new user namespace anybody is root and reaches kernel code that was written for root alone; many "
        "ways out of containers began there. setns could enter the host's namespaces through a leaked descriptor.",
        "unshare setns",
        ("CAP_SYS_ADMIN",),
    ),
    Group(
        "names of the machine",
        "The UTS namespace makes them harmless, but a container's name is its owner's to give.",
        "sethostname setdomainname",
        ("CAP_SYS_ADMIN",),
    ),
    Group(
        "administration",
        "Disk quotas, watching every file of a mount, profiling the kernel and configuring security modules act on "
        "the whole machine.",
        """
        quotactl quotactl_fd fanotify_init lookup_dcookie lsm_get_self_attr lsm_set_self_attr lsm_list_modules
        """,
        ("CAP_SYS_ADMIN",),
    ),
    Group(
        "loading programs into the kernel",
        "bpf runs the caller's code inside the kernel. Its verifier is large and has been wrong repeatedly.",
        "bpf",
        ("CAP_SYS_ADMIN", "CAP_BPF"),
    ),
    Group(
        "measuring the processor",
        "perf counts and samples other processes and the kernel too, and has had many holes.",
        "perf_event_open",
        ("CAP_SYS_ADMIN", "CAP_PERFMON"),
    ),
    Group(
        "the kernel's log",
        "There is one log for all: it names devices, addresses and other containers. This is what dmesg calls.",
        "syslog",
        ("CAP_SYS_ADMIN", "CAP_SYSLOG"),
    ),
    Group(
        "opening files by handle",
        "A handle is a file's number on its disk and can be guessed: with it a container read any file of the host "
        "beside its own root (the 'shocker' exploit of 2014).",
        "open_by_handle_at",
        ("CAP_DAC_READ_SEARCH",),
    ),
    Group("restarting the machine", "It would take everybody along.", "reboot", ("CAP_SYS_BOOT",)),
    Group(
        "another root directory",
        "Root could leave a plain chroot again; a container's own root is made by pivot_root, which it cannot undo. "
        "By default containers have this capability, because sshd and package builds use chroot.",
        "chroot",
        ("CAP_SYS_CHROOT",),
    ),
    Group(
        "kernel modules",
        "A module is the kernel; nothing is above it.",
        "init_module finit_module delete_module",
        ("CAP_SYS_MODULE",),
    ),
    Group("process accounting", "It writes about every process of the machine.", "acct", ("CAP_SYS_PACCT",)),
    Group(
        "reaching into other processes",
        "Taking over descriptors of another process or comparing kernel pointers with it tells and changes more than "
        "a debugger needs.",
        "kcmp pidfd_getfd process_madvise",
        ("CAP_SYS_PTRACE",),
    ),
    Group("hardware ports", "Direct access to devices goes round every driver.", "iopl ioperm", ("CAP_SYS_RAWIO",)),
    Group(
        "setting the clock",
        "The clock is one for the whole machine: certificates and logs of everybody depend on it.",
        "settimeofday stime clock_settime clock_settime64",
        ("CAP_SYS_TIME",),
    ),
    Group("hanging up terminals", "It cuts off whoever uses the terminal.", "vhangup", ("CAP_SYS_TTY_CONFIG",)),
    Group(
        "placing memory on nodes",
        "It takes memory of a node away from others and tells how the machine is built.",
        "get_mempolicy set_mempolicy set_mempolicy_home_node mbind",
        ("CAP_SYS_NICE",),
    ),
)

# ---- never allowed --------------------------------------------------------------------------------------------------
#
# The list is not needed to refuse, but a reader shall find a reason, and a number that is named here is answered with
# EPERM even where it is higher than every allowed one.

REFUSED = (
    Group(
        "keys",
        "The kernel's key rings know no namespaces: a container would see and use keys of the host's same users.",
        "add_key request_key keyctl",
    ),
    Group(
        "another kernel",
        "kexec loads a new kernel in place of this one.",
        "kexec_load kexec_file_load",
    ),
    Group(
        "system calls in bulk",
        "io_uring carries out requests from a queue in memory, which a filter never sees, and has had more holes than "
        "any other part of the kernel in its years.",
        "io_uring_setup io_uring_enter io_uring_register",
    ),
    Group(
        "handling page faults oneself",
        "userfaultfd lets a program stop the kernel in the middle of a copy: the tool to win a race in an exploit.",
        "userfaultfd",
    ),
    Group("swap space", "Swap belongs to the machine.", "swapon swapoff"),
    Group(
        "changing the root of the mount namespace",
        "The runtime has done it; afterwards there is no honest use.",
        "pivot_root",
    ),
    Group(
        "moving other processes' pages",
        "It acts on other processes and on how memory is shared out.",
        "move_pages migrate_pages",
    ),
    Group(
        "obsolete",
        "Old ways to ask what is in /proc and statfs now. Nobody looks at this code, but it is there.",
        "sysfs ustat _sysctl uselib nfsservctl bdflush ftime idle nice readdir timerfd",
    ),
    Group(
        "old signal, terminal and stat calls of 32-bit programs",
        "Replaced before any container image was made; their rt_ and 64-bit successors are allowed.",
        """
        signal sigaction sigpending sigsuspend sgetmask ssetmask gtty stty oldstat oldlstat oldfstat olduname
        oldolduname ulimit
        """,
    ),
    Group(
        "real mode",
        "Runs 16-bit code for BIOS calls; it has been a way around memory protection.",
        "vm86 vm86old",
    ),
    Group(
        "never implemented, or removed",
        "The kernel answers ENOSYS to all of them.",
        """
        afs_syscall break create_module get_kernel_syms getpmsg lock mpx prof profil putpmsg query_module security
        tuxcall vserver
        """,
    ),
)

# ---- allowed with some arguments ------------------------------------------------------------------------------------
#
# A filter sees the arguments as numbers. It cannot follow a pointer, because another thread could change what it points
# at between the check and the use.

# clone makes threads and processes, which everybody needs, and namespaces, which is unshare by another name.
CLONE_NEW_NAMESPACE = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
"""CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWNS (linux/sched.h)."""

# personality switches to other systems' ways. Some switch protections off, such as READ_IMPLIES_EXEC; these do not.
PERSONALITIES = (
    0x0,  # PER_LINUX
    0x8,  # PER_LINUX32: uname says i686, for 32-bit builds
    0x20000,  # UNAME26: uname says 2.6, for programs that cannot read a version 3
    0x20008,  # both
    0xFFFFFFFF,  # changes nothing, only asks
)

# Two address families are refused. AF_VSOCK (40) talks to the hypervisor and knows no network namespace. AF_ALG (38) is
# the kernel's cryptography for programs, which have libraries for that: in 2026 a mistake in it let any user write into
# the page cache, and so into files of images that other containers share (CVE-2026-31431).
#
# Why the allowed ones above are listed, and not just "everything above 40": the kernel takes the family as 32 bits but
# the filter sees the whole 64-bit register. 0x100000028 is above 40, and is AF_VSOCK to the kernel.
AF_ALG = 38
ADDRESS_FAMILIES_ABOVE_ALG = (
    39,  # AF_NFC
    41,  # AF_KCM
    42,  # AF_QIPCRTR
    43,  # AF_SMC
    44,  # AF_XDP
    45,  # AF_MCTP
)
