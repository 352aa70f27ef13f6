//! Landlock and seccomp, through crates that need no unsafe code of ours.

use std::env::consts::ARCH;
use std::os::fd::AsFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, RestrictionStatus,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use super::Landlock;

/// The Landlock without which there is none, of Linux 5.13 (Ubuntu 22.04 has it, Debian 12 the second): files cannot be
/// opened, made, removed or executed. What later ones add, the seccomp filter forbids too: to truncate a file by name, to
/// connect and to bind, to send signals; and no device can be opened whose controls could be touched.
const NEEDED: ABI = ABI::V1;
/// The newest Landlock that the rights are chosen from; an older kernel enforces those that it knows.
const WANTED: ABI = ABI::V6;

/// Keeps what was read of the image out of core dumps, and other processes of the user out of this one.
pub(super) fn give_up_core_dumps() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// How far Landlock keeps this process from all files but those in the folder `output`, which it can make and remove.
pub(super) fn restrict_files(output: Option<&Path>) -> Landlock {
    match landlocked(WANTED, output).map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Landlock::Whole,
        Ok(RulesetStatus::PartiallyEnforced) => Landlock::Files,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Landlock::Missing,
    }
}

/// Fails where what is needed cannot be enforced in full.
fn landlocked(wanted: ABI, output: Option<&Path>) -> Result<RestrictionStatus, RulesetError> {
    // Files that are open stay as they are: standard output may be a terminal, whose controls `IoctlDev` would not
    // touch, as it is asked when a device is opened.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(wanted))?
        .handle_access(AccessNet::from_all(wanted))?
        .scope(Scope::from_all(wanted))?
        .create()?;
    // A folder that cannot be opened is one in which nothing can be made.
    if let Some(folder) = output.and_then(|folder| PathFd::new(folder).ok()) {
        rules = rules.add_rule(PathBeneath::new(folder.as_fd(), AccessFs::MakeReg | AccessFs::RemoveFile))?;
    }
    rules.restrict_self()
}

/// Whether a filter makes the system calls fail that the work does not need. With `can_rename`, files can be renamed and
/// removed; where, Landlock says.
pub(super) fn restrict_calls(can_rename: bool) -> bool {
    program(can_rename).is_ok_and(|program| apply_filter(&program).is_ok())
}

fn program(can_rename: bool) -> Result<BpfProgram, BackendError> {
    let renaming = if can_rename { &[][..] } else { RENAMING };
    let denied = DENIED.iter().chain(DENIED_HERE).chain(renaming);
    let always = denied.map(|call| (*call, Vec::new()));
    let sometimes = [
        // They put words into the mouth of whoever sits at the terminal.
        (
            libc::SYS_ioctl,
            vec![argument(1, SeccompCmpOp::Eq, TIOCSTI)?, argument(1, SeccompCmpOp::Eq, TIOCLINUX)?],
        ),
        // To ask who holds a lock is allowed, to take one is not: it could keep out whoever the file belongs to.
        (
            libc::SYS_fcntl,
            vec![
                argument(1, SeccompCmpOp::Eq, libc::F_SETLK.cast_unsigned())?,
                argument(1, SeccompCmpOp::Eq, libc::F_SETLKW.cast_unsigned())?,
                argument(1, SeccompCmpOp::Eq, libc::F_OFD_SETLK.cast_unsigned())?,
                argument(1, SeccompCmpOp::Eq, libc::F_OFD_SETLKW.cast_unsigned())?,
                argument(1, SeccompCmpOp::Eq, libc::F_SETLEASE.cast_unsigned())?,
            ],
        ),
        // A process may end itself.
        (libc::SYS_tgkill, vec![argument(0, SeccompCmpOp::Ne, std::process::id())?]),
    ];
    let rules = always
        .chain(sometimes)
        .flat_map(|(call, rules)| aliases(call).map(move |call| (call, rules.clone())));
    let rules = rules.chain(OF_X32.map(|call| (call | X32, Vec::new()))).collect();
    let fails = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, fails, ARCH.try_into()?)?.try_into()
}

/// A rule for a call whose argument in this place compares so.
fn argument(place: u8, compared: SeccompCmpOp, with: u32) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(place, SeccompCmpArgLen::Dword, compared, with.into())?])
}

/// Types a byte into a terminal (tty_ioctl(4)).
const TIOCSTI: u32 = 0x5412;
/// Pastes a selection into a Linux console (ioctl_console(2)).
const TIOCLINUX: u32 = 0x541c;

/// What marks a call of the x32 convention, which x86-64 kernels may know too.
const X32: i64 = 0x4000_0000;
/// The calls that have numbers of their own there, execve and ptrace among them. None is needed.
const OF_X32: std::ops::RangeInclusive<i64> = 512..=547;

/// On x86-64 the other calls have a second number, of the x32 convention.
fn aliases(call: i64) -> impl Iterator<Item = i64> {
    let x32 = cfg!(target_arch = "x86_64").then_some(call | X32);
    std::iter::once(call).chain(x32)
}

/// What nobody needs who reads open files, computes, and writes to open files. `clone` stays: threads are started later.
const DENIED: &[i64] = &[
    // Files by name or by handle.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_memfd_create,
    libc::SYS_truncate,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_flock,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_chdir,
    libc::SYS_chroot,
    // Other machines and other processes.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Mounts, namespaces and identity.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    // Doors to the kernel, and ways to make calls that no filter sees.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
];

/// `fchmodat2`, which has this number everywhere; libc does not name it for every processor.
const FCHMODAT2: i64 = 452;

/// The older names of some of these.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_symlink,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_uselib,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[];

/// What puts an output in its place, or removes it.
#[cfg(target_arch = "x86_64")]
const RENAMING: &[i64] = &[
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
];
#[cfg(target_arch = "aarch64")]
const RENAMING: &[i64] = &[libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_unlinkat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const RENAMING: &[i64] = &[libc::SYS_renameat2, libc::SYS_linkat, libc::SYS_unlinkat];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use landlock::LandlockStatus;

    use super::*;

    /// Those that add rights; others change what is logged, and for whom.
    const ADDING: [ABI; 7] = [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6, ABI::V9];

    /// A kernel that knows less than is wanted enforces a part, which is told from all of it, and holds for files.
    #[test]
    fn a_part_of_landlock_is_told_from_the_whole() {
        // The one that is asked for, and one that few kernels have.
        let went = [WANTED, ABI::V9].map(|wanted| {
            // It holds for the thread that asks.
            let asked = thread::spawn(move || (landlocked(wanted, None), File::open("/etc/passwd")));
            let (status, opened) = asked.join().unwrap();
            let Ok(status) = status else { return false };
            let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
                panic!("{wanted:?}: {status:?}");
            };
            let is_whole = ADDING.iter().all(|abi| *abi > wanted || *abi <= effective_abi);
            let ruleset =
                if is_whole { RulesetStatus::FullyEnforced } else { RulesetStatus::PartiallyEnforced };
            assert_eq!(status.ruleset, ruleset, "{wanted:?} of {effective_abi:?}");
            assert!(opened.is_err(), "{wanted:?}");
            true
        });
        // Where there is none, none is in force, whatever is wanted.
        assert!(went.iter().all(|there| *there == went[0]), "{went:?}");
    }
}
