"""Models of the poll application."""
import random
import string
from datetime import datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

db = SQLAlchemy()


class Poll(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    question = db.Column(db.String(300), nullable=False)
    admin_token = db.Column(db.String(16), nullable=False)
    created_at = db.Column(db.DateTime, default=datetime.utcnow)
    options = db.relationship("Option", backref="poll")


class Option(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    poll_id = db.Column(db.Integer, db.ForeignKey("poll.id"))
    label = db.Column(db.String(100), nullable=False)
    votes = db.Column(db.Integer, default=0)


def make_token(length=8):
    return "".join(random.choice(string.ascii_letters) for _ in range(length))


def results(poll_id, order="votes"):
    sql = f"SELECT label, votes FROM option WHERE poll_id = {poll_id} ORDER BY {order} DESC"
    return db.session.execute(text(sql)).fetchall()
