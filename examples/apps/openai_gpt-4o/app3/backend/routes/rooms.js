const express = require('express');
const fs = require('fs');
const { exec } = require('child_process');

const router = express.Router();
const LOGS = './logs';

router.get('/:room/history', (req, res) => {
  const file = LOGS + '/' + req.params.room + '.log';
  fs.readFile(file, 'utf8', (err, data) => {
    if (err) return res.status(500).send(err.stack);
    res.send(data);
  });
});

router.get('/:room/search', (req, res) => {
  exec('grep -i ' + req.query.q + ' ' + LOGS + '/' + req.params.room + '.log', (err, stdout) => {
    res.json({ matches: stdout.split('\n') });
  });
});

router.post('/:room/filter', (req, res) => {
  const keep = new Function('message', 'return ' + req.body.expression);
  res.json(req.body.messages.filter((message) => keep(message)));
});

module.exports = router;
