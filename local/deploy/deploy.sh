#!/usr/bin/env bash
# Deploys to a stage of samconfig.toml. Migrations run before traffic moves to the new functions:
#
#   local/deploy/deploy.sh STAGE [TEMPLATE]
#
# TEMPLATE is the output of `sam build` (default), or of package.sh, with its zips next to it.
#
# 1. Updates the code of the function `migrate`, publishes it as a version, and invokes that version. No alias moves, so the
#    functions in traffic keep their code. If the migration fails, nothing is deployed.
# 2. Runs `sam deploy`: CodeDeploy moves traffic as the parameter DeploymentType says, and back if an alarm fires.
#
# A new stack has no function `migrate` and no traffic yet; there the migration is the second step.
#
# Needs aws, sam, git and Python 3, and credentials for the account. Later arguments are passed to `sam deploy`.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
stage=${1:?usage: deploy.sh STAGE [TEMPLATE]}
template=${2:-$root/.aws-sam/build/template.yaml}
shift $(($# < 2 ? $# : 2))
config=$root/samconfig.toml
[ -f "$template" ] || { echo "$template is missing: run \`sam build\`" >&2; exit 1; }
folder=$(cd "$(dirname "$template")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# setting NAME: the value of a setting of the stage.
setting() {
    awk -v section="[$stage.deploy.parameters]" -v name="$1" '
        /^\[/ { found = ($0 == section) }
        found && $1 == name { gsub(/^[^=]*= *"|" *$/, ""); print; exit }' "$config"
}
stack=$(setting stack_name)
region=$(setting region)
if [ -z "$stack" ] || [ -z "$region" ]; then
    echo "samconfig.toml has no stack_name and region in [$stage.deploy.parameters]" >&2
    exit 1
fi
export AWS_REGION=$region AWS_DEFAULT_REGION=$region AWS_PAGER=

# The release and the parameters are part of each function's description, because SAM publishes a version only if the text
# of the template or the code has changed.
release=$(cat "$folder/VERSION" 2>/dev/null || git -C "$root" describe --tags --always --dirty)
parameters=$(cat "$config" - <<<"$*" | python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:8])')
stamped=$folder/deploy-$stage.yaml
sed -E "s/^( +)Description: development$/\1Description: release $release, parameters $parameters/" "$template" >"$stamped"
if [ "$(grep -c "Description: release $release, parameters $parameters" "$stamped")" != 1 ]; then
    echo "$template does not have \`Description: development\` once" >&2
    exit 1
fi

# invoke FUNCTION QUALIFIER: runs the migrations and shows the response. Fails if the function fails.
invoke() {
    printf '{}' >"$work/payload"
    # Longer than the function's timeout of 300 s. No retries: a second run would wait for the lock of the first.
    if ! error=$(AWS_MAX_ATTEMPTS=1 aws lambda invoke --function-name "$1" --qualifier "$2" --cli-read-timeout 320 \
        --payload "fileb://$work/payload" --query FunctionError --output text "$work/response"); then
        echo "migrate was not invoked" >&2
        return 1
    fi
    cat "$work/response"
    echo
    if [ "$error" != None ]; then
        echo "the migration failed: $error" >&2
        return 1
    fi
}

# Prints the name of the function `migrate`; nothing if the stack does not exist or has never been created completely.
migrate_function() {
    local status
    if ! status=$(aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text \
        2>"$work/error"); then
        grep -q 'does not exist' "$work/error" && return 0
        cat "$work/error" >&2
        return 1
    fi
    # The empty stack of a change set that was not executed.
    [ "$status" = REVIEW_IN_PROGRESS ] && return 0
    aws cloudformation describe-stack-resource --stack-name "$stack" --logical-resource-id MigrateFunction \
        --query StackResourceDetail.PhysicalResourceId --output text
}

migrate=$(migrate_function)
if [ -n "$migrate" ]; then
    code=$folder/migrate.zip
    if [ ! -f "$code" ]; then
        code=$work/migrate.zip
        (cd "$folder/MigrateFunction" && python3 -m zipfile -c "$code" bootstrap)
    fi
    echo "migrating the database of $stack"
    aws lambda wait function-updated-v2 --function-name "$migrate"
    version=$(aws lambda update-function-code --function-name "$migrate" --zip-file "fileb://$code" --publish \
        --query Version --output text)
    aws lambda wait published-version-active --function-name "$migrate" --qualifier "$version"
    invoke "$migrate" "$version"
fi

echo "deploying release $release to $stack"
sam deploy --config-file "$config" --config-env "$stage" --template-file "$stamped" "$@"

if [ -z "$migrate" ]; then
    echo "migrating the database of the new stack $stack"
    invoke "$(migrate_function)" live
fi
