import React, { useEffect, useState } from 'react';
import { io } from 'socket.io-client';

const socket = io('http://localhost:3001');

export default function App() {
  const [token, setToken] = useState(localStorage.getItem('token'));
  const [room, setRoom] = useState('general');
  const [messages, setMessages] = useState([]);
  const [text, setText] = useState('');

  useEffect(() => {
    socket.emit('join', { room, token });
    socket.on('message', (message) => setMessages((old) => [...old, message]));
    return () => socket.off('message');
  }, [room, token]);

  const login = async () => {
    const username = prompt('Username');
    const password = prompt('Password');
    const response = await fetch('http://localhost:3001/api/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username, password }),
    });
    const data = await response.json();
    localStorage.setItem('token', data.token);
    setToken(data.token);
  };

  const send = () => {
    socket.emit('message', { room, text });
    setText('');
  };

  return (
    <div className="chat">
      <header>
        <input value={room} onChange={(e) => setRoom(e.target.value)} />
        <button onClick={login}>Log in</button>
      </header>
      {messages.map((message, i) => (
        <div key={i} className="message">
          <b>{message.from}</b>
          <span dangerouslySetInnerHTML={{ __html: message.text }} />
        </div>
      ))}
      <input value={text} onChange={(e) => setText(e.target.value)} />
      <button onClick={send}>Send</button>
    </div>
  );
}
