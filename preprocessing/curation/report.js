"use strict";
// Shows the examples that fit the chosen issue, class and split; a section without any disappears.
{
  const filters = document.querySelector(".filters");
  const choices = [...filters.querySelectorAll("select")];
  const sections = [...document.querySelectorAll("section[data-issue]")];

  const fits = (element) =>
    choices.every(({ name, value }) => value === "" || (element.dataset[name] ?? "").split("\n").includes(value));

  const update = () => {
    let shown = 0;
    let all = 0;
    for (const section of sections) {
      const examples = [...section.querySelectorAll("[data-label]")];
      for (const example of examples) example.hidden = !fits(example);
      const left = examples.filter((example) => !example.hidden).length;
      section.hidden = left === 0;
      shown += left;
      all += examples.length;
    }
    filters.querySelector("output").textContent = `${shown} of ${all} examples`;
  };

  for (const choice of choices) choice.addEventListener("change", update);
  document.documentElement.classList.add("scripted");
  update();
}
