"""Expands template.yaml with SAM's own translator, and adapts the result to the emulator.

The changes in `adapt` are the only differences between the template that is deployed to AWS and the one that is tested.
common/docs/testing.md lists them, and says what covers the parts that are removed.
"""

import logging
import re

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

# Warnings about its usage statistics, which need an AWS account.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

UNSUPPORTED_TYPES = ("AWS::CodeDeploy::",)
"""Resources that the emulator cannot create. Aliases move to a new version at once, without CodeDeploy."""

TLS_POLICIES = ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy")
"""The emulator enforces these, but the functions call it without TLS: their client trusts only Amazon's roots.

A check sets the policy of the queues afterwards, and sees that a call without TLS is then denied.
"""


class NoManagedPolicies:
    """Replaces the list of managed policies, which needs an AWS account. The template uses none by name."""

    def load(self):
        return {}


def expand(path, bucket, keys):
    """Returns the CloudFormation template of a SAM template. `keys` maps a binary's name to its object in `bucket`."""
    with open(path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            binary = resource["Metadata"]["BuildProperties"]["Binary"]
            if binary not in keys:
                raise ValueError(f"{name}: there is no binary {binary}")
            resource["Properties"]["CodeUri"] = f"s3://{bucket}/{keys[binary]}"
    return transform(template, {}, NoManagedPolicies())


def binaries(path):
    """Returns the names of the functions' binaries."""
    with open(path, encoding="utf-8") as file:
        resources = yaml_parse(file.read())["Resources"].values()
    functions = [resource for resource in resources if resource["Type"] == "AWS::Serverless::Function"]
    return sorted(function["Metadata"]["BuildProperties"]["Binary"] for function in functions)


def adapt(template):
    """Removes what the emulator does not support, and returns the removed resources.

    - CodeDeploy (`UNSUPPORTED_TYPES`).
    - Policies that require TLS (`TLS_POLICIES`).
    - Alarms with metric math.
    - The OpenAPI document of the HTTP API. `routes` replaces it.
    """
    resources = template["Resources"]
    removed = {}
    for name, resource in list(resources.items()):
        resource.pop("Metadata", None)
        # Only CodeDeploy reads it.
        resource.pop("UpdatePolicy", None)
        if resource["Type"].startswith(UNSUPPORTED_TYPES):
            removed[name] = resource
        elif resource["Type"] in TLS_POLICIES and is_tls_only(resource):
            removed[name] = resource
        elif resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]:
            removed[name] = resource
        elif resource["Type"] == "AWS::ApiGatewayV2::Api":
            resources.update(routes(name, resource))
    for name in removed:
        del resources[name]
    dangling = sorted(set(removed) & references({**template, "Description": ""}))
    if dangling:
        raise ValueError(f"the emulator does not support {dangling}, but other resources refer to them")
    return removed


def is_tls_only(resource):
    statements = resource["Properties"]["PolicyDocument"]["Statement"]
    return all(statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}} for statement in statements)


def routes(api, resource):
    """Moves the OpenAPI document of an HTTP API, which the emulator ignores, to resources for each route."""
    body = resource["Properties"].pop("Body")
    resource["Properties"].update({"Name": body["info"]["title"], "ProtocolType": "HTTP"})
    created = {}
    for name, scheme in body.get("components", {}).get("securitySchemes", {}).items():
        authorizer = scheme["x-amazon-apigateway-authorizer"]
        created[f"{api}{name}"] = {
            "Type": "AWS::ApiGatewayV2::Authorizer",
            "Properties": {
                "ApiId": {"Ref": api},
                "Name": name,
                "AuthorizerType": authorizer["type"].upper(),
                "AuthorizerUri": authorizer["authorizerUri"],
                "AuthorizerCredentialsArn": authorizer["authorizerCredentials"],
                "AuthorizerPayloadFormatVersion": str(authorizer["authorizerPayloadFormatVersion"]),
                "AuthorizerResultTtlInSeconds": authorizer["authorizerResultTtlInSeconds"],
                "EnableSimpleResponses": authorizer["enableSimpleResponses"],
                "IdentitySource": authorizer["identitySource"],
            },
        }
    for path, methods in body["paths"].items():
        for method, operation in methods.items():
            key = re.sub("[^A-Za-z0-9]", "", f"{api}{method.title()}{path.title()}")
            integration = operation["x-amazon-apigateway-integration"]
            created[f"{key}Integration"] = {
                "Type": "AWS::ApiGatewayV2::Integration",
                "Properties": {
                    "ApiId": {"Ref": api},
                    "IntegrationType": integration["type"].upper(),
                    "IntegrationMethod": integration["httpMethod"],
                    "IntegrationUri": integration["uri"],
                    "PayloadFormatVersion": integration["payloadFormatVersion"],
                },
            }
            route = {
                "ApiId": {"Ref": api},
                "RouteKey": "$default" if operation.get("isDefaultRoute") else f"{method.upper()} {path}",
                "Target": {"Fn::Sub": "integrations/${" + key + "Integration}"},
            }
            required = [name for scheme in operation.get("security", []) for name in scheme if name != "NONE"]
            if required:
                route["AuthorizationType"] = "CUSTOM"
                route["AuthorizerId"] = {"Ref": f"{api}{required[0]}"}
            created[f"{key}Route"] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": route}
    return created


def references(value):
    """Returns the logical IDs that Ref, GetAtt, Sub and DependsOn name in a value."""
    found = set()
    if isinstance(value, dict):
        for key, argument in value.items():
            if key == "Ref":
                found.add(argument)
            elif key == "Fn::GetAtt":
                found.add(argument[0] if isinstance(argument, list) else argument.split(".")[0])
            elif key == "Fn::Sub":
                pattern = argument[0] if isinstance(argument, list) else argument
                found.update(name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", pattern))
            elif key == "DependsOn":
                found.update(argument if isinstance(argument, list) else [argument])
            found |= references(argument)
    elif isinstance(value, list):
        for item in value:
            found |= references(item)
    return found
