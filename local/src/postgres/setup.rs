//! Prepares the PostgreSQL server: finds its programs, user and folders, and initializes the cluster.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::{DATABASE, FOLDER_IN_USE_DELAY, PostgresError, STOP_TIMEOUT, failed, io};
use crate::children::{self, OnOrphaned};
use crate::clock;

/// The user that Debian's package creates. Postgres refuses to run as root.
pub(super) const SERVER_USER: &str = "postgres";
/// Prefix of a cluster's folder name during initialization.
const UNFINISHED: &str = "data-";

/// The user of the server's processes when the stack runs as root.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    uid: u32,
    gid: u32,
}

/// Removes the cluster that [`Postgres::start`](super::Postgres::start) created for `folder`.
///
/// # Errors
///
/// If a folder cannot be removed.
pub fn remove_data(folder: &Path) -> std::io::Result<()> {
    let begun = Instant::now();
    for root in [folder.to_owned(), fallback_root(folder)] {
        loop {
            match std::fs::remove_dir_all(&root) {
                Err(error)
                    if error.kind() == ErrorKind::DirectoryNotEmpty && begun.elapsed() < STOP_TIMEOUT =>
                {
                    // A server that is shutting down has written another file.
                    std::thread::sleep(FOLDER_IN_USE_DELAY);
                }
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => break,
            }
        }
    }
    Ok(())
}

/// Finds the folder of PostgreSQL's programs. Prefers `PATH`, then the newest installed package.
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

/// Returns the user for the server, or `None` if the stack does not run as root: the server then uses the same user.
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
    // The server's user may have no access to the current folder.
    command.current_dir("/").stdin(Stdio::null());
    // Settings for other servers must not affect this one: initdb reads the time zone, clients read `PG*` variables.
    command.env("LC_ALL", "C").env("TZ", "UTC");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Returns the folder for the cluster: `folder`, or a replacement if the server's user has no access.
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
    let step = format!("create {}", folder.display());
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

/// Returns the cluster's password. Creates it at the first start.
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

/// Initializes the cluster in a temporary folder and renames it, so that an interrupted run leaves no partial cluster.
pub(super) async fn initialize(
    binaries: &Path,
    data: &Path,
    password_file: &Path,
    user: Option<User>,
) -> Result<(), PostgresError> {
    let siblings =
        data.parent().and_then(|root| std::fs::read_dir(root).ok()).into_iter().flatten().flatten();
    for left in siblings.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        // If an interrupted initdb is still writing there, the folder does no harm.
        let _ = std::fs::remove_dir_all(left.path());
    }
    let unfinished = data.with_file_name(format!("{UNFINISHED}{}", std::process::id()));
    let mut initdb = command(binaries, "initdb", user);
    children::tie(&mut initdb, OnOrphaned::Kill);
    // An interrupted initialization is repeated, so the files need not be synced to disk.
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
    std::fs::rename(&unfinished, data).map_err(io(&format!("create {}", data.display())))
}
