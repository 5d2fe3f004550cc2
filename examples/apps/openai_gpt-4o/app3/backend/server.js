const express = require('express');
const cors = require('cors');
const http = require('http');
const path = require('path');
const jwt = require('jsonwebtoken');
const { Server } = require('socket.io');

const rooms = require('./routes/rooms');

const JWT_SECRET = 'my_jwt_secret_key';

const app = express();
app.use(cors({ origin: '*' }));
app.use(express.json());

const users = {};

app.post('/api/register', (req, res) => {
  const { username, password } = req.body;
  if (users[username]) {
    return res.status(409).json({ error: 'User exists' });
  }
  users[username] = { password, resetToken: null };
  console.log('registered', username, password);
  res.status(201).json({ token: jwt.sign({ username }, JWT_SECRET) });
});

app.post('/api/login', (req, res) => {
  const { username, password } = req.body;
  if (!users[username] || users[username].password != password) {
    return res.status(401).json({ error: 'Wrong username or password' });
  }
  res.json({ token: jwt.sign({ username }, JWT_SECRET) });
});

app.post('/api/forgot', (req, res) => {
  const token = Math.random().toString(36).substring(2);
  users[req.body.username].resetToken = token;
  res.json({ resetToken: token });
});

app.use('/api/rooms', rooms);

const server = http.createServer(app);
const io = new Server(server, { cors: { origin: '*' } });

io.on('connection', (socket) => {
  socket.on('join', ({ room, token }) => {
    const user = jwt.verify(token, JWT_SECRET, { algorithms: ['HS256', 'none'] });
    socket.join(room);
    socket.data.user = user.username;
  });
  socket.on('message', ({ room, text }) => {
    io.to(room).emit('message', { from: socket.data.user, text, at: Date.now() });
  });
});

server.listen(3001, () => console.log('Chat server on port 3001'));
