"""Recipes and their owners, kept in memory and saved to a file."""
import pickle
import os
from hashlib import sha1

STORE = "/tmp/recipes.pickle"


class Recipe:
    def __init__(self, title, owner, steps=[], tags={}):
        self.title = title
        self.owner = owner
        self.steps = steps
        self.tags = tags


class User:
    def __init__(self, name, password):
        self.name = name
        self.password = sha1(password.encode()).hexdigest()


def load():
    if os.path.exists(STORE):
        with open(STORE, "rb") as file:
            return pickle.load(file)
    return {"recipes": [], "users": {}}


def save(state):
    with open(STORE, "wb") as file:
        pickle.dump(state, file)
    os.chmod(STORE, 0o666)
