/*
 * Giving up privileges: bounding set, groups, gid, uid, capability sets, ambient set - each needs a right that the next
 * gives up.
 */

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exec_stub.h"

#define CAPABILITY(number) ((uint64_t)1 << (number))

static const struct __user_cap_header_struct VERSION = { .version = _LINUX_CAPABILITY_VERSION_3 };

/* Returns which capability must outlast the change of credentials because the filter is loaded after it: without
 * no_new_privs loading takes CAP_SYS_ADMIN (seccomp(2)). */
uint64_t needed_for_filter(const struct plan *plan)
{
    struct __user_cap_header_struct header = VERSION;
    struct __user_cap_data_struct sets[2] = { 0 };
    if (!plan->seccomp_count || plan->flags & PLAN_NO_NEW_PRIVILEGES || syscall(SYS_capget, &header, sets) < 0)
        return 0;
    return sets[0].permitted & CAPABILITY(CAP_SYS_ADMIN);
}

/* Gives up everything that the plan does not grant, but the capabilities in `kept`, for a while. */
void set_credentials(const struct plan *plan, const gid_t *groups, uint64_t kept)
{
    char arguments[256];
    uint64_t started = now_ns();

    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (!(plan->bounding >> capability & 1) && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            fail("cannot drop a capability from the bounding set", errno);
    snprintf(arguments, sizeof arguments, "{\"bounding\":\"%016llx\"}", (unsigned long long)plan->bounding);
    report("drop_bounding_set", arguments, "prctl(2)", started, 0);

    /* Without this the change of uid from 0 would clear the permitted set before step "capset" can choose from it. */
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        fail("cannot keep capabilities over the change of user", errno);
    started = now_ns();
    if (!(plan->flags & PLAN_KEEP_GROUPS) && syscall(SYS_setgroups, plan->group_count, groups) < 0)
        fail("cannot set the supplementary groups", errno);
    if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) < 0)
        fail("cannot set the group", errno);
    if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) < 0)
        fail("cannot set the user", errno);
    snprintf(arguments, sizeof arguments, "{\"uid\":\"%u\",\"gid\":\"%u\",\"groups\":\"%u\"}", plan->uid, plan->gid,
             plan->group_count);
    report("set_user", arguments, "setresuid(2)", started, 0);
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);

    set_capabilities(plan, kept);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int capability = 0; capability < 64; capability++)
        if (plan->ambient >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            fail("cannot raise an ambient capability", errno);
}

/* Sets the effective, permitted and inheritable set to the plan's, and those in `kept`. */
void set_capabilities(const struct plan *plan, uint64_t kept)
{
    char arguments[256];
    uint64_t started = now_ns(), effective = plan->effective | kept, permitted = plan->permitted | kept;
    struct __user_cap_header_struct header = VERSION;
    struct __user_cap_data_struct sets[2];
    for (int half = 0; half < 2; half++) {
        sets[half].effective = (uint32_t)(effective >> (32 * half));
        sets[half].permitted = (uint32_t)(permitted >> (32 * half));
        sets[half].inheritable = (uint32_t)(plan->inheritable >> (32 * half));
    }
    if (syscall(SYS_capset, &header, sets) < 0)
        fail("cannot set the capabilities: unable to apply caps", errno);
    snprintf(arguments, sizeof arguments, "{\"effective\":\"%016llx\",\"permitted\":\"%016llx\"}",
             (unsigned long long)effective, (unsigned long long)permitted);
    report("capset", arguments, "capset(2)", started, 0);
}
