//! What is there before the server runs: its programs, its user, its folders, and a cluster that was set up once.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::{DATABASE, LEAVING_PAUSE, PostgresError, STOP_TIMEOUT, failed, io};
use crate::children::{self, OnOrphaned};
use crate::clock;

/// The user that Debian's package makes; Postgres does not run as root.
pub(super) const SERVER_USER: &str = "postgres";
/// Begins the name of a cluster's folder while it is set up.
const UNFINISHED: &str = "data-";

/// Whose processes the server's are, when the stack runs as root.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    uid: u32,
    gid: u32,
}

/// Removes the data of the stack in `folder`, wherever [`Postgres::start`](super::Postgres::start) put them.
///
/// # Errors
///
/// When a folder cannot be removed.
pub fn remove_data(folder: &Path) -> std::io::Result<()> {
    let begun = Instant::now();
    for root in [folder.to_owned(), fallback_root(folder)] {
        loop {
            match std::fs::remove_dir_all(&root) {
                Err(error)
                    if error.kind() == ErrorKind::DirectoryNotEmpty && begun.elapsed() < STOP_TIMEOUT =>
                {
                    // A server on its way out has just written something.
                    std::thread::sleep(LEAVING_PAUSE);
                }
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => break,
            }
        }
    }
    Ok(())
}

/// The folder of the newest server's programs: those in `PATH` before the places where packages put them.
pub(super) fn find_binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let mut packaged: Vec<(u32, PathBuf)> = Vec::new();
    let places = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/usr", "pgsql-", "bin"),
    ];
    for (parent, prefix, suffix) in places {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(version) = name.strip_prefix(prefix).and_then(|version| version.parse().ok()) {
                packaged.push((version, entry.path().join(suffix)));
            }
        }
    }
    packaged.sort();
    let fixed = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/local/pgsql/bin"].map(PathBuf::from);
    let candidates = in_path.into_iter().chain(packaged.into_iter().rev().map(|(_, bin)| bin)).chain(fixed);
    candidates.into_iter().find(|bin| {
        ["initdb", "postgres", "pg_isready", "createdb"].iter().all(|program| bin.join(program).exists())
    })
}

/// `None` when the stack is not root and Postgres can run as whoever it is.
pub(super) fn server_user() -> Result<Option<User>, PostgresError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(io("read /etc/passwd"))?;
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(SERVER_USER)).then_some(())?;
        Some(User { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    });
    user.map(Some).ok_or(PostgresError::NoServerUser)
}

pub(super) fn command(binaries: &Path, program: &str, user: Option<User>) -> Command {
    let mut command = Command::new(binaries.join(program));
    // The server's user may not be able to enter the present folder.
    command.current_dir("/").stdin(Stdio::null());
    // What is set for servers of the machine's own must not change this one: a cluster takes its zone from here, and
    // PostgreSQL's clients take options.
    command.env("LC_ALL", "C").env("TZ", "UTC");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// The folder for the cluster: `folder`, or a reachable one for it.
pub(super) async fn data_root(folder: &Path, user: Option<User>) -> Result<PathBuf, PostgresError> {
    let Some(user) = user else {
        private_folder(folder, None)?;
        return Ok(folder.to_owned());
    };
    private_folder(folder, Some(user))?;
    if can_enter(folder, user).await {
        return Ok(folder.to_owned());
    }
    let root = fallback_root(folder);
    private_folder(&root, Some(user))?;
    Ok(root)
}

async fn can_enter(folder: &Path, user: User) -> bool {
    let mut probe = Command::new("test");
    probe.arg("-w").arg(folder).current_dir("/").uid(user.uid).gid(user.gid);
    probe.status().await.is_ok_and(|status| status.success())
}

fn fallback_root(folder: &Path) -> PathBuf {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    Path::new("/var/lib").join(format!("sms-local-{}", &hex::encode(digest)[..12]))
}

fn private_folder(folder: &Path, user: Option<User>) -> Result<(), PostgresError> {
    let step = format!("make {}", folder.display());
    std::fs::create_dir_all(folder).map_err(io(&step))?;
    let metadata = std::fs::metadata(folder).map_err(io(&step))?;
    if metadata.mode() & 0o777 != 0o700 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(io(&step))?;
    }
    match user {
        Some(user) => chown(folder, Some(user.uid), Some(user.gid)).map_err(io(&step)),
        None => Ok(()),
    }
}

/// The cluster's password, made at the first start.
pub(super) fn password(root: &Path, user: Option<User>) -> Result<String, PostgresError> {
    let path = root.join("password");
    if let Ok(password) = std::fs::read_to_string(&path) {
        return Ok(password.trim().to_owned());
    }
    let step = format!("write {}", path.display());
    let password = clock::request_id().replace('-', "");
    let mut file = std::fs::File::create(&path).map_err(io(&step))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(io(&step))?;
    file.write_all(password.as_bytes()).map_err(io(&step))?;
    if let Some(user) = user {
        chown(&path, Some(user.uid), Some(user.gid)).map_err(io(&step))?;
    }
    Ok(password)
}

pub(super) async fn initialise(
    binaries: &Path,
    data: &Path,
    password_file: &Path,
    user: Option<User>,
) -> Result<(), PostgresError> {
    // In a folder of its own, so that what an interrupted setup leaves is never taken for a cluster.
    let around = data.parent().and_then(|root| std::fs::read_dir(root).ok()).into_iter().flatten().flatten();
    for left in around.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        // It is in nobody's way, should its setup still be ending.
        let _ = std::fs::remove_dir_all(left.path());
    }
    let unfinished = data.with_file_name(format!("{UNFINISHED}{}", std::process::id()));
    let mut initdb = command(binaries, "initdb", user);
    children::tie(&mut initdb, OnOrphaned::Kill);
    // An interrupted setup is begun anew, so that it need not reach the disk before the start goes on.
    initdb.arg("--no-sync");
    initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--username", DATABASE]);
    initdb.args([
        OsStr::new("--pwfile"),
        password_file.as_os_str(),
        OsStr::new("-D"),
        unfinished.as_os_str(),
    ]);
    let output = initdb.output().await.map_err(io("run initdb"))?;
    if !output.status.success() {
        return Err(failed("initdb", &output));
    }
    std::fs::rename(&unfinished, data).map_err(io(&format!("make {}", data.display())))
}
