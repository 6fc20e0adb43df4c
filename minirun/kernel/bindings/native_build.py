"""Builds minirun.kernel._native: the system calls that Python's standard library lacks, and the kernel's constants.

This is cffi in out-of-line API mode: a C compiler reads the kernel's own headers at build time, so no number is copied
by hand, and importing the result costs about a millisecond (the ABI mode would parse the declarations at every start).

Each wrapper returns a non-negative result or a negative errno: errno itself would be lost when Python takes its lock
back.
"""

from __future__ import annotations

from cffi import FFI

CONSTANTS = """
    CLONE_NEWNS CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET CLONE_NEWCGROUP CLONE_NEWTIME
    CLONE_PIDFD CLONE_PARENT
    MS_RDONLY MS_NOSUID MS_NODEV MS_NOEXEC MS_SYNCHRONOUS MS_REMOUNT MS_MANDLOCK MS_DIRSYNC MS_NOATIME MS_NODIRATIME
    MS_NOSYMFOLLOW MS_BIND MS_MOVE MS_REC MS_SILENT MS_UNBINDABLE MS_PRIVATE MS_SLAVE MS_SHARED MS_RELATIME
    MS_STRICTATIME MS_LAZYTIME MS_I_VERSION MNT_DETACH UMOUNT_NOFOLLOW
    OPEN_TREE_CLONE OPEN_TREE_CLOEXEC AT_RECURSIVE AT_EMPTY_PATH AT_SYMLINK_NOFOLLOW AT_NO_AUTOMOUNT
    MOVE_MOUNT_F_EMPTY_PATH MOVE_MOUNT_T_EMPTY_PATH
    MOUNT_ATTR_RDONLY MOUNT_ATTR_NOSUID MOUNT_ATTR_NODEV MOUNT_ATTR_NOEXEC MOUNT_ATTR__ATIME MOUNT_ATTR_RELATIME
    MOUNT_ATTR_NOATIME MOUNT_ATTR_STRICTATIME MOUNT_ATTR_NODIRATIME MOUNT_ATTR_IDMAP MOUNT_ATTR_NOSYMFOLLOW
    RESOLVE_NO_XDEV RESOLVE_NO_MAGICLINKS RESOLVE_NO_SYMLINKS RESOLVE_BENEATH RESOLVE_IN_ROOT
    PR_SET_NAME PR_SET_DUMPABLE PR_SET_PDEATHSIG PR_SET_NO_NEW_PRIVS PR_SET_CHILD_SUBREAPER
    PR_SET_KEEPCAPS PR_CAP_AMBIENT PR_CAP_AMBIENT_RAISE PR_CAP_AMBIENT_CLEAR_ALL PR_CAPBSET_READ PR_CAPBSET_DROP
    F_ADD_SEALS F_SEAL_SEAL F_SEAL_SHRINK F_SEAL_GROW F_SEAL_WRITE
    PROC_SUPER_MAGIC SYSFS_MAGIC CGROUP2_SUPER_MAGIC CGROUP_SUPER_MAGIC OVERLAYFS_SUPER_MAGIC TMPFS_MAGIC
    DEVPTS_SUPER_MAGIC
    IOPRIO_WHO_PROCESS IOPRIO_CLASS_SHIFT IOPRIO_CLASS_RT IOPRIO_CLASS_BE IOPRIO_CLASS_IDLE
    SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_ISO SCHED_IDLE SCHED_DEADLINE
    SCHED_FLAG_RESET_ON_FORK SCHED_FLAG_RECLAIM SCHED_FLAG_DL_OVERRUN SCHED_FLAG_KEEP_POLICY SCHED_FLAG_KEEP_PARAMS
    SCHED_FLAG_UTIL_CLAMP_MIN SCHED_FLAG_UTIL_CLAMP_MAX
    PER_LINUX PER_LINUX32
    RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_LOCKS RLIMIT_MEMLOCK RLIMIT_MSGQUEUE RLIMIT_NICE
    RLIMIT_NOFILE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING RLIMIT_STACK
    MPOL_DEFAULT MPOL_PREFERRED MPOL_BIND MPOL_INTERLEAVE MPOL_LOCAL MPOL_PREFERRED_MANY MPOL_WEIGHTED_INTERLEAVE
    MPOL_F_STATIC_NODES MPOL_F_RELATIVE_NODES MPOL_F_NUMA_BALANCING
""".split()

DECLARATIONS = """
    int minirun_clone3(uint64_t flags, int cgroup_fd, int exit_signal, int *pidfd);
    int minirun_unshare(int flags);
    int minirun_setns(int fd, int flags);
    int minirun_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
                      const char *data);
    int minirun_umount2(const char *target, int flags);
    int minirun_pivot_root(const char *new_root, const char *put_old);
    int minirun_open_tree(int dirfd, const char *path, unsigned int flags);
    int minirun_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags);
    int minirun_mount_setattr(int dirfd, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                              uint64_t propagation, int userns_fd);
    int minirun_load_device_program(const void *instructions, unsigned int count, const char *name);
    int minirun_find_device_program(int cgroup_fd, const char *name);
    int minirun_attach_device_program(int cgroup_fd, int program_fd, int replaced_fd);
    int minirun_fsopen(const char *fstype);
    int minirun_fsconfig(int context, const char *name, const char *value);
    int minirun_fsmount(int context, unsigned int attributes);
    int minirun_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
    int minirun_fstatfs_type(int fd, uint64_t *type);
    int minirun_close_range(unsigned int first, unsigned int last, int cloexec);
    int minirun_execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags);
    int minirun_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
    int minirun_sethostname(const char *name, size_t length);
    int minirun_setdomainname(const char *name, size_t length);
    int minirun_join_session_keyring(const char *name);
    int minirun_personality(unsigned long persona);
    int minirun_prlimit(int pid, int resource, uint64_t soft, uint64_t hard);
    int minirun_ioprio_set(int which, int who, int priority);
    int minirun_sched_setattr(int pid, uint32_t policy, uint64_t flags, int32_t nice, uint32_t priority,
                              uint64_t runtime, uint64_t deadline, uint64_t period);
    int minirun_available_capabilities(uint64_t *mask);
    int minirun_probe_seccomp_flags(unsigned int flags);
    int minirun_use_every_cpu(void);
    int minirun_set_mempolicy(int mode, const unsigned long *nodes, unsigned long bits);
    int minirun_syncfs(int fd);
    int minirun_signalfd(void);
    int minirun_getsockopt(int fd, int level, int option, void *value, unsigned int length);
"""

SOURCE = r"""
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mempolicy.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#ifndef SCHED_ISO
#define SCHED_ISO 4
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#define MPOL_WEIGHTED_INTERLEAVE 6 /* an enumerator of <linux/mempolicy.h> since Linux 6.9 */

static int result(long value) { return value < 0 ? -errno : (int)value; }

static int minirun_clone3(uint64_t flags, int cgroup_fd, int exit_signal, int *pidfd)
{
    struct clone_args args = { .flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd,
                               .exit_signal = (uint64_t)exit_signal };
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return result(syscall(SYS_clone3, &args, sizeof args));
}

static int minirun_unshare(int flags) { return result(unshare(flags)); }
static int minirun_setns(int fd, int flags) { return result(setns(fd, flags)); }

static int minirun_mount(const char *source, const char *target, const char *fstype, unsigned long flags,
                         const char *data)
{
    return result(mount(source, target, fstype, flags, data));
}

static int minirun_umount2(const char *target, int flags) { return result(umount2(target, flags)); }

static int minirun_pivot_root(const char *new_root, const char *put_old)
{
    return result(syscall(SYS_pivot_root, new_root, put_old));
}

static int minirun_open_tree(int dirfd, const char *path, unsigned int flags)
{
    return result(syscall(SYS_open_tree, dirfd, path, flags));
}

static int minirun_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
    return result(syscall(SYS_move_mount, from_fd, from, to_fd, to, flags));
}

static int minirun_mount_setattr(int dirfd, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                                 uint64_t propagation, int userns_fd)
{
    struct mount_attr attributes = { .attr_set = set, .attr_clr = clear, .propagation = propagation,
                                     .userns_fd = userns_fd >= 0 ? (uint64_t)userns_fd : 0 };
    return result(syscall(SYS_mount_setattr, dirfd, path, flags, &attributes, sizeof attributes));
}

static int minirun_load_device_program(const void *instructions, unsigned int count, const char *name)
{
    union bpf_attr attributes = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (uint64_t)(uintptr_t)instructions,
                                  .insn_cnt = count, .license = (uint64_t)(uintptr_t) "Apache-2.0" };
    strncpy(attributes.prog_name, name, sizeof attributes.prog_name - 1);
    return result(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes));
}

static int minirun_find_device_program(int cgroup_fd, const char *name)
{
    uint32_t ids[64];
    union bpf_attr query = { .query = { .target_fd = (uint32_t)cgroup_fd, .attach_type = BPF_CGROUP_DEVICE,
                                        .prog_ids = (uint64_t)(uintptr_t)ids, .prog_cnt = 64 } };
    if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof query) < 0)
        return -errno;
    for (uint32_t i = 0; i < query.query.prog_cnt; i++) {
        union bpf_attr get = { .prog_id = ids[i] };
        int program = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &get, sizeof get);
        if (program < 0)
            continue;
        struct bpf_prog_info info = { 0 };
        union bpf_attr ask = { .info = { .bpf_fd = (uint32_t)program, .info_len = sizeof info,
                                         .info = (uint64_t)(uintptr_t)&info } };
        if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof ask) == 0 && strcmp(info.name, name) == 0)
            return program;
        close(program);
    }
    return -ENOENT;
}

static int minirun_attach_device_program(int cgroup_fd, int program_fd, int replaced_fd)
{
    union bpf_attr attributes = { .target_fd = (uint32_t)cgroup_fd, .attach_bpf_fd = (uint32_t)program_fd,
                                  .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI };
    if (replaced_fd >= 0) {
        attributes.attach_flags |= BPF_F_REPLACE;
        attributes.replace_bpf_fd = (uint32_t)replaced_fd;
    }
    return result(syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes));
}

static int minirun_fsopen(const char *fstype) { return result(fsopen(fstype, FSOPEN_CLOEXEC)); }

static int minirun_fsconfig(int context, const char *name, const char *value)
{
    if (*value == 0)
        return result(fsconfig(context, FSCONFIG_SET_FLAG, name, NULL, 0));
    return result(fsconfig(context, FSCONFIG_SET_STRING, name, value, 0));
}

static int minirun_fsmount(int context, unsigned int attributes)
{
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    return result(fsmount(context, FSMOUNT_CLOEXEC, attributes));
}

static int minirun_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
    struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };
    return result(syscall(SYS_openat2, dirfd, path, &how, sizeof how));
}

static int minirun_fstatfs_type(int fd, uint64_t *type)
{
    struct statfs status;
    if (fstatfs(fd, &status) < 0)
        return -errno;
    *type = (uint64_t)status.f_type;
    return 0;
}

static int minirun_close_range(unsigned int first, unsigned int last, int cloexec)
{
    return result(syscall(SYS_close_range, first, last, cloexec ? 4U /* CLOSE_RANGE_CLOEXEC */ : 0U));
}

static int minirun_execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
    return result(syscall(SYS_execveat, fd, path, argv, envp, flags));
}

static int minirun_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    return result(prctl(option, a, b, c, d));
}

static int minirun_available_capabilities(uint64_t *mask)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets) < 0)
        return -errno;
    *mask = 0;
    for (int number = 0; number < 64; number++)
        if (sets[number / 32].permitted >> number % 32 & 1 && prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1)
            *mask |= (uint64_t)1 << number;
    return 0;
}

static int minirun_sethostname(const char *name, size_t length) { return result(sethostname(name, length)); }
static int minirun_setdomainname(const char *name, size_t length) { return result(setdomainname(name, length)); }

static int minirun_join_session_keyring(const char *name)
{
    return result(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name));
}

static int minirun_personality(unsigned long persona) { return result(personality(persona)); }

static int minirun_prlimit(int pid, int resource, uint64_t soft, uint64_t hard)
{
    struct rlimit limits = { .rlim_cur = soft, .rlim_max = hard };
    return result(prlimit(pid, resource, &limits, NULL));
}

static int minirun_ioprio_set(int which, int who, int priority)
{
    return result(syscall(SYS_ioprio_set, which, who, priority));
}

/* Not <linux/sched/types.h>, which newer C libraries repeat: this is SCHED_ATTR_SIZE_VER0 of it. */
static int minirun_sched_setattr(int pid, uint32_t policy, uint64_t flags, int32_t nice, uint32_t priority,
                                 uint64_t runtime, uint64_t deadline, uint64_t period)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = { sizeof attributes, policy, flags, nice, priority, runtime, deadline, period };
    return result(syscall(SYS_sched_setattr, pid, &attributes, 0));
}

/* Flags are looked at first, then the filter, which is nowhere: -EFAULT says that the kernel knows them. */
static int minirun_probe_seccomp_flags(unsigned int flags)
{
    return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL));
}

/* A bit for each CPU that a kernel can be built for: it ignores those that it has not got. */
static int minirun_use_every_cpu(void)
{
    unsigned long mask[8192 / (8 * sizeof(unsigned long))];
    memset(mask, 0xff, sizeof mask);
    return result(syscall(SYS_sched_setaffinity, 0, sizeof mask, mask));
}

static int minirun_set_mempolicy(int mode, const unsigned long *nodes, unsigned long bits)
{
    return result(syscall(SYS_set_mempolicy, mode, nodes, bits));
}

static int minirun_signalfd(void)
{
    sigset_t all;
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
        return -errno;
    return result(signalfd(-1, &all, SFD_CLOEXEC));
}

static int minirun_syncfs(int fd) { return result(syncfs(fd)); }

static int minirun_getsockopt(int fd, int level, int option, void *value, unsigned int length)
{
    return result(getsockopt(fd, level, option, value, &length));
}
"""

ffi = FFI()
ffi.cdef("\n".join(f"#define {name} ..." for name in CONSTANTS) + DECLARATIONS)
ffi.set_source("minirun.kernel._native", SOURCE, extra_compile_args=["-Wall", "-O2"])

if __name__ == "__main__":
    ffi.compile(verbose=True)
