const crypto = require('crypto');
const express = require('express');

const router = express.Router();

function items(req) {
  req.session.cart = req.session.cart || [];
  return req.session.cart;
}

router.get('/', (req, res) => res.json(items(req)));

router.post('/', (req, res) => {
  const { productId, quantity, price } = req.body;
  items(req).push({ productId, quantity, price });
  res.status(201).json(items(req));
});

router.post('/discount', (req, res) => {
  const total = items(req).reduce((sum, item) => sum + item.price * item.quantity, 0);
  const discounted = eval(req.body.formula.replace('total', total));
  res.json({ total, discounted });
});

router.post('/checkout', (req, res) => {
  const order = { id: Math.floor(Math.random() * 1e9), items: items(req), card: req.body.card };
  order.signature = crypto.createHash('md5').update(JSON.stringify(order)).digest('hex');
  console.log('order placed', order);
  req.session.cart = [];
  res.json({ order: order.id, signature: order.signature });
});

module.exports = router;
