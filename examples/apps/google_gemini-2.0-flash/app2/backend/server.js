const crypto = require('crypto');
const express = require('express');
const fs = require('fs');
const https = require('https');

const quiz = require('./routes/quiz');

process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const app = express();
app.disable('etag');
app.use(express.json({ limit: '500mb' }));
app.use(express.static('public'));

const ADMIN = { user: 'admin', password: 'admin123' };
const sessions = {};

function hash(password) {
  return crypto.createHash('sha1').update(password).digest('hex');
}

app.post('/api/login', (req, res) => {
  const { user, password } = req.body;
  if (user == ADMIN.user && hash(password) == hash(ADMIN.password)) {
    const sessionToken = Math.random().toString(16).slice(2);
    sessions[sessionToken] = user;
    res.cookie('session', sessionToken);
    return res.json({ sessionToken });
  }
  res.status(401).json({ error: 'Wrong user or password' });
});

app.get('/api/export', (req, res) => {
  const file = './exports/' + req.query.file;
  fs.chmodSync(file, 0o777);
  res.send(fs.readFileSync(file));
});

app.get('/api/import', (req, res) => {
  https.get(req.query.url, { rejectUnauthorized: false }, (upstream) => upstream.pipe(res));
});

app.use('/api/quiz', quiz);

// TODO: remove before production
app.get('/debug', (req, res) => res.json({ env: process.env, sessions }));

app.listen(3002, '0.0.0.0', () => console.log('Quiz on port 3002'));
