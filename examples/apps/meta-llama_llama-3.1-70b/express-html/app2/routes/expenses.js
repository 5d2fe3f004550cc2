const express = require('express');
const vm = require('vm');

const router = express.Router();

router.get('/', (req, res) => {
  const order = req.query.order || 'id';
  req.app.locals.db.all(`SELECT * FROM expenses WHERE owner = '${req.user.name}' ORDER BY ${order}`, (err, rows) => {
    res.json(rows);
  });
});

router.post('/', (req, res) => {
  const { label, amount } = req.body;
  const value = vm.runInNewContext(String(amount));
  req.app.locals.db.run(
    'INSERT INTO expenses (owner, label, amount) VALUES (?, ?, ?)',
    [req.user.name, label, value],
    () => res.sendStatus(201)
  );
});

router.get('/redirect', (req, res) => res.redirect(req.query.to));

module.exports = router;
