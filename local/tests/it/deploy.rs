//! `local/deploy/deploy.sh` with stand-ins for `aws` and `sam` that record their calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/deploy.sh");

/// Like `aws`: the stack exists if `$STACK` says so or after `sam deploy`; `$MIGRATION` is the error of the function.
const AWS: &str = r#"#!/bin/sh
echo "aws $*" >> "$CALLS"
case "$*" in
    *describe-stacks*)
        if [ "$STACK" = missing ] && ! grep -q '^sam deploy' "$CALLS"; then
            echo 'An error occurred (ValidationError): Stack with id sms does not exist' >&2
            exit 254
        fi
        [ "$STACK" = denied ] && { echo 'An error occurred (AccessDenied)' >&2; exit 254; }
        echo UPDATE_COMPLETE ;;
    *describe-stack-resource*) echo migrate-function ;;
    *update-function-code*) echo 7 ;;
    *"lambda invoke"*)
        for response; do :; done
        echo '{"applied":[]}' > "$response"
        echo "$MIGRATION" ;;
esac
"#;
const SAM: &str = "#!/bin/sh\necho \"sam $*\" >> \"$CALLS\"\n";

/// Deploys a release and returns whether that succeeded, the recorded calls in short, and the deployed template.
fn deploy(stack: &str, migration: &str) -> (bool, Vec<String>, String) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, text) in [("aws", AWS), ("sam", SAM)] {
        fs::write(path(name), text).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(path("calls"), "").unwrap();
    fs::write(path("VERSION"), "v1.2.3\n").unwrap();
    fs::write(path("migrate.zip"), "zip").unwrap();
    fs::write(path("template.yaml"), "Globals:\n  Function:\n    Description: development\n").unwrap();
    let search = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args([Path::new(DEPLOY), Path::new("staging"), &path("template.yaml")]);
    command.env("PATH", search).env("CALLS", path("calls"));
    let output = command.env("STACK", stack).env("MIGRATION", migration).output().unwrap();
    let calls = fs::read_to_string(path("calls")).unwrap();
    let calls = calls.lines().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let named = |name: &str| words.iter().position(|word| *word == name).map(|place| words[place + 1]);
        let detail = named("--qualifier").or_else(|| named("--config-env")).unwrap_or_default();
        format!("{} {detail}", words[1..if words[0] == "aws" { 3 } else { 2 }].join(" ")).trim().to_owned()
    });
    let deployed = fs::read_to_string(path("deploy-staging.yaml")).unwrap();
    (output.status.success(), calls.collect(), deployed)
}

#[test]
fn migrations_run_in_a_new_version_of_migrate_before_the_stack_is_deployed() {
    let (is_deployed, calls, template) = deploy("exists", "None");
    assert!(is_deployed);
    assert_eq!(
        calls,
        [
            "cloudformation describe-stacks",
            "cloudformation describe-stack-resource",
            "lambda wait",
            "lambda update-function-code",
            "lambda wait 7",
            "lambda invoke 7",
            "deploy staging",
        ]
    );
    let description = template.lines().last().unwrap();
    assert!(description.starts_with("    Description: release v1.2.3, parameters "), "{template}");
}

#[test]
fn a_failed_migration_deploys_nothing() {
    let (is_deployed, calls, _) = deploy("exists", "Unhandled");
    assert!(!is_deployed);
    assert_eq!(calls.last().unwrap(), "lambda invoke 7");
}

#[test]
fn a_new_stack_is_migrated_after_its_deployment() {
    let (is_deployed, calls, _) = deploy("missing", "None");
    assert!(is_deployed);
    let expected = [
        "cloudformation describe-stacks",
        "deploy staging",
        "cloudformation describe-stacks",
        "cloudformation describe-stack-resource",
        "lambda invoke live",
    ];
    assert_eq!(calls, expected);
    assert!(!deploy("missing", "Unhandled").0);
}

#[test]
fn a_stack_that_cannot_be_read_is_not_taken_for_a_new_one() {
    let (is_deployed, calls, _) = deploy("denied", "None");
    assert!(!is_deployed);
    assert_eq!(calls, ["cloudformation describe-stacks"]);
}
