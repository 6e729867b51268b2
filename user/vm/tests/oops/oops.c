// SPDX-License-Identifier: GPL-2.0
/*
 * oops: a module that follows a null pointer, for the test that the VM runner reports an oops.
 */
#include <linux/module.h>

static int __init oops_init(void)
{
	return READ_ONCE(*(int *)NULL);
}
module_init(oops_init);

MODULE_DESCRIPTION("Follows a null pointer");
MODULE_LICENSE("GPL");
