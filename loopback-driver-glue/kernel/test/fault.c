// SPDX-License-Identifier: GPL-2.0
/* Which allocations fail, see fault.h. Only in modules built for tests. */
#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/string.h>

bool vlb_fault(const char *what, const char *where, bool may_sleep);
void vlb_fault_live(int change);

/* Protects all but fault_live. */
static DEFINE_SPINLOCK(fault_lock);
static unsigned int fault_at;
static unsigned int fault_times = 1;
static int fault_tgid;
static bool fault_atomic;
static char fault_only[64];
static unsigned int fault_seen;
static unsigned int fault_failed;
static const char *fault_what = "";
static const char *fault_in = "";
static atomic_t fault_live = ATOMIC_INIT(0);

/* Whether calls of the function @where count. */
static bool wanted(const char *where)
{
	if (fault_only[0] == '!')
		return strcmp(fault_only + 1, where);
	return !fault_only[0] || !strcmp(fault_only, where);
}

bool vlb_fault(const char *what, const char *where, bool may_sleep)
{
	unsigned long flags;
	bool fail = false;

	spin_lock_irqsave(&fault_lock, flags);
	if (fault_at && (may_sleep || fault_atomic) && wanted(where) &&
	    (!fault_tgid || task_tgid_nr(current) == fault_tgid)) {
		fault_seen++;
		fail = fault_seen >= fault_at &&
		       fault_seen - fault_at < fault_times;
	}
	if (fail) {
		fault_failed++;
		fault_what = what;
		fault_in = where;
	}
	spin_unlock_irqrestore(&fault_lock, flags);
	return fail;
}

void vlb_fault_live(int change)
{
	atomic_add(change, &fault_live);
}

/* Arms, or with 0 disarms; the counts begin again when it is armed. */
static int set_at(const char *value, const struct kernel_param *kp)
{
	unsigned int at;
	int err = kstrtouint(value, 0, &at);

	if (err)
		return err;
	spin_lock_irq(&fault_lock);
	fault_at = at;
	if (at)
		fault_seen = fault_failed = 0;
	spin_unlock_irq(&fault_lock);
	return 0;
}

static const struct kernel_param_ops at_ops = {
	.set = set_at,
	.get = param_get_uint,
};

static int get_where(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s in %s\n", fault_what, fault_in);
}

static const struct kernel_param_ops where_ops = { .get = get_where };

static int get_live(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&fault_live));
}

static const struct kernel_param_ops live_ops = { .get = get_live };

module_param_cb(fault_at, &at_ops, &fault_at, 0644);
MODULE_PARM_DESC(fault_at, "which call fails, counted from now; 0: none (tests)");
module_param(fault_times, uint, 0644);
MODULE_PARM_DESC(fault_times, "how many calls fail from there on (tests)");
module_param(fault_tgid, int, 0644);
MODULE_PARM_DESC(fault_tgid, "only calls of this process; 0: of all (tests)");
module_param(fault_atomic, bool, 0644);
MODULE_PARM_DESC(fault_atomic, "count calls that may not sleep, too (tests)");
module_param_string(fault_only, fault_only, sizeof(fault_only), 0644);
MODULE_PARM_DESC(fault_only,
		 "only calls in this function, or with ! in all others (tests)");
module_param(fault_seen, uint, 0444);
MODULE_PARM_DESC(fault_seen, "calls since fault_at was set (tests)");
module_param(fault_failed, uint, 0444);
MODULE_PARM_DESC(fault_failed, "how many of these failed (tests)");
module_param_cb(fault_where, &where_ops, NULL, 0444);
MODULE_PARM_DESC(fault_where, "the last that failed (tests)");
module_param_cb(fault_live, &live_ops, NULL, 0444);
MODULE_PARM_DESC(fault_live, "what has yet to be given back (tests)");
