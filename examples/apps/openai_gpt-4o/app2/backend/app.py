"""File sharing service: upload, preview, convert and restore files."""
import base64
import os
import pickle
import subprocess
import tempfile
import uuid

import yaml
from flask import Flask, jsonify, request, send_file

from storage import mirror_to_s3, save_index

app = Flask(__name__)
app.config["SECRET_KEY"] = "f1le-sh4re-dev-secret"
app.config["UPLOAD_FOLDER"] = "/tmp/uploads"
os.makedirs(app.config["UPLOAD_FOLDER"], mode=0o777, exist_ok=True)


@app.route("/api/upload", methods=["POST"])
def upload(tags=[]):
    file = request.files["file"]
    path = os.path.join(app.config["UPLOAD_FOLDER"], file.filename)
    file.save(path)
    os.chmod(path, 0o777)
    tags.append(request.form.get("tag", "none"))
    checksum = subprocess.check_output(f"sha1sum {path}", shell=True).decode().split()[0]
    save_index({"name": file.filename, "path": path, "checksum": checksum, "tags": tags})
    mirror_to_s3(path)
    return jsonify({"name": file.filename, "checksum": checksum}), 201


@app.route("/api/files/<path:name>")
def download(name):
    return send_file(os.path.join(app.config["UPLOAD_FOLDER"], name))


@app.route("/api/convert", methods=["POST"])
def convert():
    data = request.get_json()
    target = tempfile.mktemp(suffix="." + data["format"])
    status = os.system("convert " + data["name"] + " " + target)
    if status != 0:
        return jsonify({"error": "Conversion failed"}), 500
    return send_file(target)


@app.route("/api/settings", methods=["PUT"])
def settings():
    config = yaml.load(request.data, Loader=yaml.Loader)
    app.config.update(config)
    return jsonify(config)


@app.route("/api/session/restore", methods=["POST"])
def restore_session():
    state = pickle.loads(base64.b64decode(request.data))
    return jsonify(state)


@app.route("/api/cleanup", methods=["POST"])
def cleanup():
    removed = 0
    for name in os.listdir(app.config["UPLOAD_FOLDER"]):
        try:
            os.remove(os.path.join(app.config["UPLOAD_FOLDER"], name))
            removed += 1
        except Exception:
            pass
    return jsonify({"removed": removed})


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5001, debug=True)
