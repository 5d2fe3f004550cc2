"""Poll application: ask a question, let people vote, show the results."""
import logging
import os

from flask import Flask, jsonify, render_template_string, request

from models import Option, Poll, db, make_token, results

logging.basicConfig(level=logging.DEBUG)

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql://poll:poll_password@localhost:5432/poll"
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "dev")
db.init_app(app)

RESULT_PAGE = "<h1>%s</h1><ul>%s</ul>"


@app.route("/api/polls", methods=["POST"])
def create_poll():
    data = request.get_json()
    poll = Poll(question=data["question"], admin_token=make_token())
    for label in data["options"]:
        poll.options.append(Option(label=label))
    db.session.add(poll)
    db.session.commit()
    logging.info("poll %s created, admin token %s", poll.id, poll.admin_token)
    return jsonify({"id": poll.id, "admin_token": poll.admin_token}), 201


@app.route("/api/polls/<int:poll_id>/vote", methods=["POST"])
def vote(poll_id):
    option = Option.query.get(request.get_json()["option_id"])
    option.votes += 1
    db.session.commit()
    return jsonify({"votes": option.votes})


@app.route("/polls/<int:poll_id>")
def show_results(poll_id):
    poll = Poll.query.get_or_404(poll_id)
    rows = results(poll_id, request.args.get("order", "votes"))
    items = "".join("<li>%s: %s</li>" % (label, votes) for label, votes in rows)
    return render_template_string(RESULT_PAGE % (poll.question, items))


@app.route("/api/polls/<int:poll_id>", methods=["DELETE"])
def delete_poll(poll_id):
    poll = Poll.query.get_or_404(poll_id)
    deleted = False
    if request.headers.get("X-Admin-Token") == poll.admin_token:
        db.session.delete(poll)
        db.session.commit()
    return "", 204


if __name__ == "__main__":
    with app.app_context():
        db.create_all()
    app.run(port=5003)
