// SPDX-License-Identifier: GPL-2.0
/*
 * The pseudo filesystem in which the inodes of anonymous pairs live, as those of pipes live in
 * pipefs (fs/pipe.c). In C because init_pseudo() and what it returns are not in the bindings, and
 * because lockdep wants a file_system_type to be static.
 *
 * A superblock holds a reference to the module until it is gone, so no code here runs after an
 * unload. It is therefore mounted only while a clone node or a pair is open: an open clone node pins
 * the mount, and every file in it does.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

/* What the inodes of one owner have in common; pairfs.rs has the same structure. */
struct kpipe_pair_ops {
	struct file_operations fops;
	/* Takes back the private data of an inode that nobody can reach any more. */
	void (*forget)(void *private_data);
};

int kpipe_pairfs_pin(void);
void kpipe_pairfs_unpin(void);
struct file *kpipe_pairfs_file(const struct kpipe_pair_ops *ops, void *private_data, int flags);

/* "kpip" */
#define KPIPE_MAGIC 0x6b706970

static void evict(struct inode *inode)
{
	clear_inode(inode);
	/* An inode that was given up early has none. */
	if (inode->i_private)
		container_of(inode->i_fop, struct kpipe_pair_ops, fops)->forget(inode->i_private);
}

static const struct super_operations super_ops = {
	.statfs = simple_statfs,
	.drop_inode = inode_just_drop,
	.evict_inode = evict,
};

/* What /proc/PID/fd/N points to: kpipe:[12345], like pipe:[12345]. */
static char *dname(struct dentry *dentry, char *buffer, int len)
{
	char name[32];
	int size = scnprintf(name, sizeof(name), "kpipe:[%llu]",
			     (unsigned long long)d_inode(dentry)->i_ino) + 1;

	if (size > len)
		return ERR_PTR(-ENAMETOOLONG);
	return memcpy(buffer + len - size, name, size);
}

static const struct dentry_operations dentry_ops = {
	.d_dname = dname,
};

static int init_context(struct fs_context *context)
{
	struct pseudo_fs_context *pseudo = init_pseudo(context, KPIPE_MAGIC);

	if (!pseudo)
		return -ENOMEM;
	pseudo->ops = &super_ops;
	pseudo->dops = &dentry_ops;
	return 0;
}

static struct file_system_type type = {
	.owner = THIS_MODULE,
	.name = "kpipefs",
	.init_fs_context = init_context,
	.kill_sb = kill_anon_super,
};

static struct vfsmount *mount;
static int pins;

/* Mounts, unless it is mounted. Process context; may sleep. Returns 0 or a negative errno. */
int kpipe_pairfs_pin(void)
{
	return simple_pin_fs(&type, &mount, &pins);
}

/* Undoes one pin. The mount stays for as long as there are files in it. */
void kpipe_pairfs_unpin(void)
{
	simple_release_fs(&mount, &pins);
}

/*
 * A new FIFO-like inode, and a file open for writing on it that has no private data yet. The caller
 * has a pin. Returns an error pointer, and then private_data is still the caller's.
 */
struct file *kpipe_pairfs_file(const struct kpipe_pair_ops *ops, void *private_data, int flags)
{
	struct inode *inode = new_inode(mount->mnt_sb);
	struct file *file;

	if (!inode)
		return ERR_PTR(-ENOMEM);
	inode->i_ino = get_next_ino();
	/* Tested by programs (S_ISFIFO), and by fcntl(2) before it sets O_DIRECT. */
	inode->i_mode = S_IFIFO | 0600;
	inode->i_uid = current_fsuid();
	inode->i_gid = current_fsgid();
	simple_inode_init_ts(inode);
	inode->i_fop = &ops->fops;

	/* Released by __fput(). */
	if (!try_module_get(ops->fops.owner)) {
		iput(inode);
		return ERR_PTR(-ENODEV);
	}
	file = alloc_file_pseudo(inode, mount, "", O_WRONLY | flags, &ops->fops);
	if (IS_ERR(file)) {
		iput(inode);
		module_put(ops->fops.owner);
		return file;
	}
	inode->i_private = private_data;
	return file;
}
