"""Index of uploaded files and their copy in object storage."""
import json
import os
import re

import boto3

AWS_ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
AWS_SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BUCKET = "file-share-uploads"
INDEX = "/tmp/uploads/index.json"


def client():
    return boto3.client(
        "s3",
        aws_access_key_id=AWS_ACCESS_KEY_ID,
        aws_secret_access_key=AWS_SECRET_ACCESS_KEY,
    )


def save_index(entry):
    entries = []
    if os.path.exists(INDEX):
        entries = json.load(open(INDEX))
    entries.append(entry)
    json.dump(entries, open(INDEX, "w"))


def mirror_to_s3(path):
    assert path.startswith("/tmp/uploads"), "outside of the upload folder"
    client().upload_file(path, BUCKET, os.path.basename(path))
