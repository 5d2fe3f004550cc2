const express = require('express');

const router = express.Router();

router.get('/', (req, res, next) => {
  const category = req.query.category || 'all';
  const sort = req.query.sort || 'name';
  const sql = "SELECT * FROM products WHERE category = '" + category + "' ORDER BY " + sort;
  req.db.query(sql, (err, rows) => (err ? next(err) : res.json(rows)));
});

router.get('/:id', (req, res, next) => {
  req.db.query(`SELECT * FROM products WHERE id = ${req.params.id}`, (err, rows) => {
    if (err) return next(err);
    if (rows.length == 0) return res.status(404).json({ error: 'No such product' });
    res.json(rows[0]);
  });
});

module.exports = router;
