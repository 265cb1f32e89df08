"""Checks the template after SAM has expanded it, including the resources that SAM generates.

- Roles have access only to queues and buckets that the template names.
- No resource has a fixed name, so that two stacks fit into one account.
"""

import logging
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
# SAM warns that it has no feature toggles, once for each function.
logging.disable(logging.WARNING)

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

NAMES = ("Name", "QueueName", "FunctionName", "AlarmName", "RoleName", "LogGroupName", "TopicName", "PolicyName")
"""Properties that name a resource."""

REFERRING = ("AWS::Lambda::", "AWS::ApiGatewayV2::Stage", "AWS::IAM::Policy")
"""Types whose names need not be unique: of another resource, or within one."""


class NoManagedPolicies:
    """Replaces the list of managed policies, which needs an AWS account. The template uses none by name."""

    def load(self):
        return {}


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml_parse(file.read())


def expanded(template):
    """Returns the resources of a template, with those that SAM generates."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # SAM needs the location of a built package.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return transform(template, {}, NoManagedPolicies())["Resources"]


def strings(value):
    """Yields all strings in a value, including those in intrinsic functions."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def as_list(value):
    return value if isinstance(value, list) else [value]


def policies(role):
    """Yields the policies of a role, including those that depend on a condition."""
    for policy in role["Properties"].get("Policies", []):
        for branch in policy["Fn::If"][1:] if "Fn::If" in policy else [policy]:
            if "PolicyDocument" in branch:
                yield branch


def names_all(action, text):
    """Returns whether a resource of a statement is not one that the template names."""
    if action.lower().startswith("s3:"):
        # Objects of a bucket are "${Bucket.Arn}/*".
        return text == "*" or text.startswith("arn:")
    return "*" in text


def role_problems(name, role):
    properties = role["Properties"]
    for arn in properties.get("ManagedPolicyArns", []):
        if any("SQS" in text or "Administrator" in text for text in strings(arn)):
            yield f"{name}: the managed policy {arn} grants access to every queue of the account"
    for policy in policies(role):
        for statement in as_list(policy["PolicyDocument"]["Statement"]):
            actions = [action for action in as_list(statement.get("Action", [])) if isinstance(action, str)]
            actions = [action for action in actions if action == "*" or action.lower().startswith(("sqs:", "s3:"))]
            for resource in as_list(statement.get("Resource", "*")):
                if any(names_all(action, text) for action in actions for text in strings(resource)):
                    yield f"{name}: {policy['PolicyName']} allows {actions} on {resource}"


def name_problems(name, resource):
    if resource["Type"].startswith(REFERRING):
        return
    for key, value in resource.get("Properties", {}).items():
        if key in NAMES and isinstance(value, str) and "AWS::StackName" not in value:
            yield f"{name}: {key} is {value} in all stacks"


def main():
    problems = []
    for name, resource in expanded(read(sys.argv[1])).items():
        problems += name_problems(name, resource)
        if resource["Type"] == "AWS::IAM::Role":
            problems += role_problems(name, resource)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
