import { useEffect, useState } from 'react';

const API = 'http://localhost:5000/api';

export default function App() {
  const [recipes, setRecipes] = useState([]);
  const [preview, setPreview] = useState('');

  useEffect(() => {
    fetch(`${API}/recipes`).then((r) => r.json()).then(setRecipes);
  }, []);

  async function importRecipe() {
    const url = window.prompt('Address of the recipe');
    const response = await fetch(`${API}/import`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ url }),
    });
    setPreview((await response.json()).html);
  }

  return (
    <main>
      <h1>Recipe box</h1>
      <button onClick={importRecipe}>Import</button>
      <div dangerouslySetInnerHTML={{ __html: preview }} />
      <ul>{recipes.map((recipe) => <li key={recipe.title}>{recipe.title}</li>)}</ul>
    </main>
  );
}
