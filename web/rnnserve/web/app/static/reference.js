// Tries the requests of the reference page: each form sends what stands in it, and shows what is answered.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = form.querySelector("output");
    const body = form.querySelector("textarea");
    answer.textContent = "…";
    try {
      const reply = await fetch(form.elements.path.value, {
        method: form.dataset.method,
        body: body ? body.value : undefined,
        headers: body ? { "Content-Type": "application/json" } : {},
      });
      answer.textContent = `${reply.status} ${reply.statusText}\n${await reply.text()}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  });
}
