const list = document.getElementById('notes');
const form = document.getElementById('new-note');

function row(note) {
  const item = document.createElement('li');
  const title = document.createElement('strong');
  title.textContent = note.title;
  const text = document.createElement('p');
  text.textContent = note.text;
  item.append(title, text);
  return item;
}

async function show() {
  const response = await fetch('/api/notes');
  const notes = await response.json();
  list.replaceChildren(...notes.map(row));
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  await fetch('/api/notes', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  form.reset();
  await show();
});

await show();
