"""Builds `minirun.kernel._seccomp`, the binding to libseccomp (cffi, out-of-line API mode).

The C compiler reads libseccomp's and the kernel's headers, so every type and constant is theirs and no number is
copied. Needs libseccomp-dev.
"""

from __future__ import annotations

from cffi import FFI

SOURCE = """
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <seccomp.h>
"""

ffi = FFI()

ffi.set_source("minirun.kernel._seccomp", SOURCE, libraries=["seccomp"])

ffi.cdef("""
    typedef void *scmp_filter_ctx;

    struct scmp_version { unsigned int major; unsigned int minor; unsigned int micro; ...; };
    const struct scmp_version *seccomp_version(void);

    enum scmp_filter_attr { SCMP_FLTATR_CTL_OPTIMIZE, SCMP_FLTATR_API_SYSRAWRC, ... };
    enum scmp_compare {
        SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ, ...
    };
    struct scmp_arg_cmp { unsigned int arg; enum scmp_compare op; uint64_t datum_a; uint64_t datum_b; ...; };

    #define __NR_SCMP_ERROR ...

    static const uint32_t SCMP_ARCH_X86_64, SCMP_ARCH_X32, SCMP_ARCH_S390, SCMP_ARCH_S390X;
    static const uint32_t SCMP_ARCH_MIPS, SCMP_ARCH_MIPS64, SCMP_ARCH_MIPS64N32;
    static const uint32_t SCMP_ARCH_MIPSEL, SCMP_ARCH_MIPSEL64, SCMP_ARCH_MIPSEL64N32;

    static const uint32_t SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO;
    static const uint32_t SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW;
    static const uint32_t SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    static const uint32_t SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

    #define BPF_LD ...
    #define BPF_W ...
    #define BPF_ABS ...
    #define BPF_JMP ...
    #define BPF_JA ...
    #define BPF_JEQ ...
    #define BPF_JGE ...
    #define BPF_JGT ...
    #define BPF_RET ...
    #define BPF_K ...
    #define BPF_MAXINSNS ...
    struct seccomp_data { int nr; uint32_t arch; ...; };

    uint32_t seccomp_arch_native(void);
    uint32_t seccomp_arch_resolve_name(const char *arch_name);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch_token, const char *name);

    scmp_filter_ctx seccomp_init(uint32_t def_action);
    void seccomp_release(scmp_filter_ctx ctx);
    int seccomp_attr_set(scmp_filter_ctx ctx, enum scmp_filter_attr attr, uint32_t value);
    int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch_token);
    int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int syscall, unsigned int arg_cnt,
                               const struct scmp_arg_cmp *arg_array);
    int seccomp_export_bpf(const scmp_filter_ctx ctx, int fd);
""")

if __name__ == "__main__":
    ffi.compile(verbose=True)
