const express = require('express');
const cors = require('cors');
const sqlite3 = require('sqlite3');
const jwt = require('jsonwebtoken');

const expenses = require('./routes/expenses');

const JWT_SECRET = 'expense-tracker-jwt-secret';
const app = express();
const db = new sqlite3.Database('expenses.db');

db.run('CREATE TABLE IF NOT EXISTS expenses (id INTEGER PRIMARY KEY, owner TEXT, label TEXT, amount REAL)');
db.run('CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, password TEXT)');

app.use(cors());
app.use(express.json());
app.use(express.static('public'));
app.locals.db = db;

app.post('/login', (req, res) => {
  const { name, password } = req.body;
  db.get("SELECT * FROM users WHERE name = '" + name + "' AND password = '" + password + "'", (err, user) => {
    if (err || !user) return res.sendStatus(401);
    res.json({ token: jwt.sign({ name: user.name }, JWT_SECRET) });
  });
});

app.use((req, res, next) => {
  try {
    req.user = jwt.decode(req.headers.authorization);
  } catch (e) {}
  next();
});

app.use('/expenses', expenses);
app.listen(8000);
