"""Deploys the template as a stack, as `sam deploy` does: code and template in a bucket, then CloudFormation."""

import concurrent.futures
import io
import json
import time
import urllib.parse
import zipfile

import boto3
import botocore.config
import psycopg

import processes
import template as sam

BUCKET = "deployment-artifacts"
DEPLOY_SECONDS = 300


class Failed(Exception):
    """A check has failed."""


class Aws:
    """Clients of the emulator, as the owner of the account."""

    def __init__(self, url):
        self.url = url

    def client(self, service, key="test", secret="test"):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=processes.REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=botocore.config.Config(retries={"max_attempts": 1}, read_timeout=120),
        )


def upload(aws, folder, template):
    """Uploads the functions' binaries. Returns the object of each, by name."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": processes.REGION})
    keys = {name: f"{name}.zip" for name in sam.binaries(template)}

    def put(name):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as writer:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            writer.writestr(entry, (folder / name).read_bytes())
        s3.put_object(Bucket=BUCKET, Key=keys[name], Body=archive.getvalue())

    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(put, keys))
    return keys


def create_database(server, name):
    """Creates an empty database, and returns its URL."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)')
        connection.execute(f'create database "{name}"')
    parts = urllib.parse.urlsplit(server)
    return urllib.parse.urlunsplit(parts._replace(path=f"/{name}"))


def refuse_connections(server, name):
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'alter database "{name}" allow_connections false')
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])


class Stack:
    """A deployed stack with its own database and its own Twilio number."""

    def __init__(self, aws, name, number, token, database, api_key=None):
        self.aws = aws
        self.name = name
        self.number = number
        self.token = token
        self.database = database
        self.api_key = api_key
        self.removed = {}
        self.ids = {}
        self.outputs = {}
        self.key = None
        self.base = ""
        self.secrets = {}

    def create_secrets(self):
        """Creates the secrets, each with the keys that common/docs/deployment.md names."""
        secrets = self.aws.client("secretsmanager")
        values = {"TwilioSecretArn": {"auth_token": self.token}, "DatabaseSecretArn": {"url": self.database}}
        if self.api_key:
            sid, secret = self.api_key.split(":")
            values["TwilioApiSecretArn"] = {"api_key_sid": sid, "api_key_secret": secret}
        self.secrets = {
            parameter: secrets.create_secret(Name=f"{self.name}-{parameter}", SecretString=json.dumps(value))["ARN"]
            for parameter, value in values.items()
        }

    def secret_values(self):
        """The texts that must not appear in the configuration of a function."""
        return [self.token, self.database, *(self.api_key or "").split(":")[1:]]

    def deploy(self, path, keys, parameters):
        template = sam.expand(path, BUCKET, keys)
        self.removed = sam.adapt(template)
        key = f"{self.name}.template"
        self.aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(template).encode())
        cloudformation = self.aws.client("cloudformation")
        cloudformation.create_stack(
            StackName=self.name,
            TemplateURL=f"{self.aws.url}/{BUCKET}/{key}",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            # As in samconfig.toml.
            Capabilities=["CAPABILITY_IAM"],
        )
        self.wait("CREATE_COMPLETE")
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=self.name)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        self.ids = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
        stack = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        return len(resources)

    def wait(self, status):
        cloudformation = self.aws.client("cloudformation")
        deadline = time.monotonic() + DEPLOY_SECONDS
        while True:
            now = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"]
            if now == status:
                return
            if not now.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
                events = cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
                failed = [
                    f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
                    for event in events
                    if event["ResourceStatus"].endswith("FAILED")
                ]
                raise Failed(f"stack {self.name} is {now}\n" + "\n".join(failed))
            time.sleep(0.5)

    def is_deleted(self):
        stacks = self.aws.client("cloudformation").list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
        return any(stack["StackName"] == self.name for stack in stacks)

    def invoke(self, function, payload):
        response = self.aws.client("lambda").invoke(FunctionName=self.ids[function], Payload=json.dumps(payload))
        body = response["Payload"].read()
        if "FunctionError" in response:
            raise Failed(f"{function} failed: {body.decode()}")
        return json.loads(body)

    def refuse_connections(self):
        """Makes the database unavailable to the functions."""
        server = urllib.parse.urlsplit(self.database)._replace(path="/postgres")
        refuse_connections(urllib.parse.urlunsplit(server), self.name)

    def query(self, statement, *parameters):
        with psycopg.connect(self.database) as connection:
            return connection.execute(statement, parameters).fetchall()

    def logs(self):
        """Returns the log lines of all functions that are JSON."""
        logs = self.aws.client("logs")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=self.ids["FunctionsLog"])
        lines = []
        for page in pages:
            for event in page["events"]:
                try:
                    lines.append(json.loads(event["message"]))
                except ValueError:
                    continue
        return [line for line in lines if isinstance(line, dict)]
