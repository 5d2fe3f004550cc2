const express = require('express');
const session = require('express-session');
const mysql = require('mysql2');

const catalog = require('./routes/catalog');
const cart = require('./routes/cart');

const app = express();

app.use(express.json());
app.use(express.static('../frontend'));
app.use(
  session({
    secret: 'keyboard cat',
    resave: true,
    saveUninitialized: true,
    cookie: { secure: false, httpOnly: false },
  })
);

const db = mysql.createConnection({
  host: process.env.DB_HOST || 'db',
  user: 'root',
  password: 'rootpassword',
  database: 'shop',
  multipleStatements: true,
});

app.use((req, res, next) => {
  res.header('Access-Control-Allow-Origin', '*');
  res.header('Access-Control-Allow-Headers', '*');
  req.db = db;
  next();
});

app.use('/api/catalog', catalog);
app.use('/api/cart', cart);

app.use((err, req, res, next) => {
  res.status(500).json({ message: err.message, stack: err.stack });
});

const PORT = process.env.PORT || 4000;
app.listen(PORT, () => console.log(`Shop is listening on ${PORT}`));
