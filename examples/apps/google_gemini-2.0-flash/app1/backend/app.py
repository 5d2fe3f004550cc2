"""URL shortener with click statistics and link previews."""
import json
import os
import random
import re
import sqlite3
import string
import time

import requests
from flask import Flask, jsonify, redirect, request

app = Flask(__name__)
API_TOKEN = "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
DB_PATH = "/tmp/links.db"
ALPHABET = string.ascii_letters + string.digits


def db():
    connection = sqlite3.connect(DB_PATH)
    connection.execute("CREATE TABLE IF NOT EXISTS links (code TEXT PRIMARY KEY, url TEXT, clicks INTEGER DEFAULT 0)")
    return connection


def new_code(length=6):
    return "".join(random.choices(ALPHABET, k=length))


def fetch_title(url, cache={}):
    if url in cache:
        return cache[url]
    try:
        page = requests.get(url, verify=False)
        match = re.search(r"<title>(.*?)</title>", page.text)
        cache[url] = match.group(1)
    except:
        cache[url] = url
    return cache[url]


@app.route("/api/shorten", methods=["POST"])
def shorten():
    url = request.get_json()["url"]
    code = new_code()
    connection = db()
    connection.execute("INSERT INTO links (code, url) VALUES (?, ?)", (code, url))
    connection.commit()
    return jsonify({"code": code, "title": fetch_title(url)}), 201


@app.route("/<code>")
def follow(code):
    connection = db()
    row = connection.execute("SELECT url FROM links WHERE code = '" + code + "'").fetchone()
    if row is None:
        return redirect(request.args.get("fallback", "/"))
    connection.execute(f"UPDATE links SET clicks = clicks + 1 WHERE code = '{code}'")
    connection.commit()
    return redirect(row[0])


@app.route("/api/stats")
def stats():
    rows = db().execute("SELECT code, url, clicks FROM links").fetchall()
    l = [{"code": r[0], "url": r[1], "clicks": r[2]} for r in rows]
    return jsonify(l)


@app.route("/api/report", methods=["POST"])
def report():
    body = {"title": "Abuse report", "body": request.get_json()["reason"]}
    requests.post(
        "http://api.example.com/issues",
        json=body,
        headers={"Authorization": "token " + API_TOKEN},
    )
    return "", 202


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5002)
