"""Checks that deployments are gradual and complete, in the template after SAM has expanded it, and checks samconfig.toml.

- Each function has the alias `live`, which CodeDeploy moves to a new version and back if that version fails.
- Everything that invokes a function names its alias.
- A changed configuration publishes new versions.
- Policies that concern all functions have all roles.
- No resource depends on itself, also not through an alias and the alarms of its deployments.
- samconfig.toml sets parameters that exist, and tags each stack.
"""

import copy
import graphlib
import pathlib
import re
import sys

import tomlkit

from check_template import as_list, expanded, read

ALIAS = "live"
MOST_RESOURCES = 500
"""CloudFormation's limit for a stack."""
MOST_ALARMS = 10
"""CodeDeploy's limit for a deployment group."""
TAGS = {"stack", "service", "environment"}
WITHOUT_KEY = {"OpenapiFunction"}
"""Functions that read and write nothing that KmsKeyArn encrypts."""

MAY_NAME_FUNCTIONS = ("AWS::CloudWatch::", "AWS::Lambda::Alias", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::Version")
"""Types that refer to a function without invoking it."""


def references(value):
    """Yields the logical IDs that a value refers to, without attributes."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "Ref":
                yield item
            elif key == "Fn::GetAtt":
                yield (item if isinstance(item, str) else item[0]).split(".")[0]
            else:
                if key == "Fn::Sub":
                    text = as_list(item)[0]
                    yield from (name.split(".")[0] for name in re.findall(r"\$\{([^!}]+)\}", text))
                yield from references(item)


def branches(value):
    """Returns both values of an Fn::If, or the value itself."""
    return value["Fn::If"][1:] if "Fn::If" in value else [value]


def watched(alarm):
    """Yields the metrics of an alarm: the name and the dimensions of each."""
    properties = alarm["Properties"]
    for metric in [item["MetricStat"]["Metric"] for item in properties.get("Metrics", []) if "MetricStat" in item] or [properties]:
        yield metric["MetricName"], {item["Name"]: item["Value"] for item in metric.get("Dimensions", [])}


def deployment_problems(name, resources):
    """Yields what is missing for a gradual deployment of a function."""
    aliases = {
        id: resource
        for id, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Alias" and resource["Properties"]["FunctionName"] == {"Ref": name}
    }
    if [alias["Properties"]["Name"] for alias in aliases.values()] != [ALIAS]:
        yield f"{name}: has no alias {ALIAS}"
        return
    (alias,) = aliases.values()
    update = alias.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate")
    if not update:
        yield f"{name}: traffic moves to a new version at once (no DeploymentPreference)"
        return
    group = resources[update["DeploymentGroupName"]["Ref"]]["Properties"]
    wanted = {
        "FunctionName": {"Ref": name},
        "Resource": {"Fn::Sub": f"${{{name}}}:{ALIAS}"},
        "ExecutedVersion": alias["Properties"]["FunctionVersion"],
    }
    for configuration in branches(group.get("AlarmConfiguration") or {}):
        alarms = [resources[alarm["Name"]["Ref"]] for alarm in configuration.get("Alarms", [])]
        if len(alarms) > MOST_ALARMS:
            yield f"{name}: a deployment group has at most {MOST_ALARMS} alarms"
        if not any(("Errors", wanted) in watched(alarm) for alarm in alarms):
            yield f"{name}: no alarm for errors of the new version rolls its deployment back"


def invoker_problems(id, resource, functions):
    """Yields references to a function that do not name the alias."""
    if resource["Type"] == "AWS::Lambda::EventInvokeConfig" and resource["Properties"]["Qualifier"] != ALIAS:
        yield f"{id}: is not for the alias {ALIAS}"
    if not resource["Type"].startswith(MAY_NAME_FUNCTIONS):
        for name in sorted(functions.intersection(references(resource.get("Properties", {})))):
            yield f"{id}: names {name}, whose latest code may not be deployed yet; name {name}.Alias"


def policy_problems(resources, functions):
    for id, without in (("NetworkPolicy", set()), ("KeyPolicy", WITHOUT_KEY)):
        wanted = {f"{name}Role" for name in functions - without}
        roles = set(references(resources[id]["Properties"]["Roles"]))
        if roles != wanted:
            yield f"{id}: the roles differ from those of the functions: {sorted(roles ^ wanted)}"


def cycle_problems(resources):
    """Yields a cycle of dependencies. CloudFormation refuses the template then; cfn-lint misses those of update policies."""
    attributes = ("Properties", "UpdatePolicy", "CreationPolicy")
    dependencies = {
        id: resources.keys() & {*references([resource.get(name) for name in attributes]), *as_list(resource.get("DependsOn", []))}
        for id, resource in resources.items()
    }
    try:
        graphlib.TopologicalSorter(dependencies).prepare()
    except graphlib.CycleError as error:
        yield f"resources depend on each other: {', '.join(reversed(error.args[1]))}"


def versions(resources):
    return {id for id, resource in resources.items() if resource["Type"] == "AWS::Lambda::Version"}


def version_problems(template, resources):
    released = copy.deepcopy(template)
    released["Globals"]["Function"]["Description"] = "another release"
    unchanged = versions(resources) & versions(expanded(released))
    if unchanged:
        yield f"a changed description publishes no version of {sorted(unchanged)}"


def settings(environment, section):
    """Returns the pairs of a setting such as parameter_overrides of samconfig.toml."""
    items = environment.get("deploy", {}).get("parameters", {}).get(section, [])
    return dict(item.split("=", 1) for item in as_list(items))


def samconfig_problems(template, config):
    names = [name for name, value in config.items() if isinstance(value, dict) and "deploy" in value]
    if not {"dev", "staging", "prod"} <= set(names):
        yield "samconfig.toml: dev, staging or prod is missing"
    for name in names:
        parameters = settings(config[name], "parameter_overrides")
        unknown = parameters.keys() - template["Parameters"].keys()
        if unknown:
            yield f"samconfig.toml: {name} sets unknown parameters {sorted(unknown)}"
        required = {id for id, parameter in template["Parameters"].items() if "Default" not in parameter}
        if name != "default" and not required <= parameters.keys():
            yield f"samconfig.toml: {name} does not set {sorted(required - parameters.keys())}"
        for id, value in parameters.items():
            allowed = template["Parameters"].get(id, {}).get("AllowedValues", [value])
            if value not in allowed:
                yield f"samconfig.toml: {name} sets {id} to {value}, which is none of {allowed}"
        if settings(config[name], "tags").keys() != TAGS:
            yield f"samconfig.toml: the tags of {name} are not {sorted(TAGS)}"


def main():
    path = pathlib.Path(sys.argv[1])
    template = read(path)
    resources = expanded(copy.deepcopy(template))
    functions = {name for name, resource in resources.items() if resource["Type"] == "AWS::Lambda::Function"}
    problems = []
    for name in sorted(functions):
        problems += deployment_problems(name, resources)
    for id, resource in resources.items():
        problems += invoker_problems(id, resource, functions)
    problems += policy_problems(resources, functions)
    problems += cycle_problems(resources)
    problems += version_problems(template, resources)
    if len(resources) > MOST_RESOURCES:
        problems.append(f"{len(resources)} resources; CloudFormation allows {MOST_RESOURCES}")
    problems += samconfig_problems(template, tomlkit.parse(path.with_name("samconfig.toml").read_text("utf-8")))
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
