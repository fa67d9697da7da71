// One <img> whose PNG arrives as bytes; decoded before it is swapped in, so that it never flickers.
function render({ model, el }) {
  const img = document.createElement("img");
  el.classList.add("dtc-picture");
  el.append(img);
  let shown = null;

  function update() {
    const url = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    img.alt = model.get("alt");
    img.style.width = `${model.get("width")}px`;
    img.src = url;
    if (shown) URL.revokeObjectURL(shown);
    shown = url;
  }

  model.on("change:value", update);
  update();
  return () => {
    model.off("change:value", update);
    URL.revokeObjectURL(shown);
  };
}

export default { render };
