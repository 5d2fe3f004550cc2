const API = 'http://localhost:5000/api';
const list = document.getElementById('todos');

async function loadTodos() {
  const response = await fetch(`${API}/todos`, { credentials: 'include' });
  const todos = await response.json();
  list.innerHTML = todos
    .map((todo) => `<li class="${todo.done ? 'done' : ''}">${todo.title} <button onclick="removeTodo(${todo.id})">x</button></li>`)
    .join('');
}

async function removeTodo(id) {
  await fetch(`${API}/todos/${id}`, { method: 'DELETE', credentials: 'include' });
  loadTodos();
}

document.getElementById('add-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const input = document.getElementById('title');
  await fetch(`${API}/todos`, {
    method: 'POST',
    credentials: 'include',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ title: input.value }),
  });
  input.value = '';
  loadTodos();
});

loadTodos();
