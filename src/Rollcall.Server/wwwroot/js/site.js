// Small comforts. Every page works without them.
(() => {
  "use strict";

  // Changes that are not saved are warned about before the page is left: those of each form by itself, and what was refused and stands
  // there again as it was typed.
  const unsaved = new Set(document.querySelectorAll("form[data-unsaved=typed]"));
  let sent = null;
  document.addEventListener("input", event => {
    const form = event.target.closest("form[data-unsaved]");
    if (form) unsaved.add(form);
  });
  document.addEventListener("submit", event => {
    if (!event.defaultPrevented) sent = event.target;
  });
  window.addEventListener("beforeunload", event => {
    const form = sent;
    sent = null;
    if (![...unsaved].some(other => other !== form && other.isConnected)) return;
    event.preventDefault();

    // Whoever stays may press the same button again.
    if (form) setTimeout(() => delete form.dataset.sent);
  });

  // A second press while the first is on its way would ask twice. An answer that is a file leaves the page as it is: it may ask again then.
  document.addEventListener("submit", event => {
    const form = event.target;
    if (event.defaultPrevented || form.getAttribute("method") !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 5000);
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // One tick for the whole page of a list, and a count of what is ticked.
  for (const form of document.querySelectorAll("form[data-ticks]")) {
    const all = form.querySelector("[data-all]");
    const said = form.querySelector("[data-ticked]");
    const boxes = [...form.querySelectorAll("input[name=b][type=checkbox]")];
    const needing = form.querySelectorAll("[data-needs-tick]");
    if (!all || !said) continue;
    const unticked = said.textContent;
    const show = () => {
      const count = boxes.filter(box => box.checked).length;
      said.textContent = count ? said.dataset.ticked + count : unticked;
      for (const button of needing) button.disabled = count === 0;
      all.checked = count === boxes.length;
      all.indeterminate = count > 0 && count < boxes.length;
    };
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of boxes) box.checked = all.checked;
      show();
    });
    form.addEventListener("change", show);
    window.addEventListener("pageshow", show);
    show();
  }

  // Whoever gives a field a new value means it to change.
  for (const form of document.querySelectorAll("form[data-ticking]")) {
    form.addEventListener("input", event => {
      const box = event.target.closest("tr")?.querySelector("input[name=change]");
      if (box && box !== event.target) box.checked = true;
    });
  }

  // Two clicks in a row mean one: what the first has opened stays so.
  document.addEventListener("click", event => {
    if (event.detail > 1 && event.target.closest("summary")) event.preventDefault();
  });

  // A sheet that hangs from a button closes with Escape and when something else is used.
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    const open = event.target.closest && event.target.closest("details.drop[open], details.help[open], details.menu[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", event => {
    for (const open of document.querySelectorAll("details.drop[open], details.help[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });

  // A bubble hangs from its mark, inside the window. Fixed, it is cut by no table; without this it stands at the lower edge, as on a phone.
  const narrow = matchMedia("(max-width: 44rem)");
  const place = () => {
    for (const help of document.querySelectorAll("details.help[open]")) {
      const mark = help.querySelector("summary").getBoundingClientRect();
      const text = help.querySelector(".help-text");
      const [width, height] = [document.documentElement.clientWidth, window.innerHeight];
      for (const side of ["left", "right", "top", "bottom"]) text.style[side] = "";
      if (narrow.matches) continue;
      if (mark.bottom < 0 || mark.top > height) {
        help.open = false;
        continue;
      }
      const [edge, gap] = [8, 6];
      const above = mark.bottom + gap + text.offsetHeight > height - edge && mark.top - gap - text.offsetHeight >= edge;
      const top = above ? mark.top - gap - text.offsetHeight : mark.bottom + gap;
      text.style.right = text.style.bottom = "auto";
      text.style.left = `${Math.max(edge, Math.min(mark.left, width - text.offsetWidth - edge))}px`;
      text.style.top = `${Math.max(edge, Math.min(top, height - text.offsetHeight - edge))}px`;
    }
  };
  document.addEventListener("toggle", event => {
    if (event.target.matches("details.help[open]")) place();
  }, true);
  document.addEventListener("scroll", place, { capture: true, passive: true });
  window.addEventListener("resize", place);

  // What is on its way has arrived once the page of the operation has renewed itself.
  document.addEventListener("htmx:afterSettle", event => {
    if (event.target.id === "operation") document.querySelector("main > .notice-good[role=status]")?.remove();
  });

  // A live page whose stream is refused asks for itself: whoever is signed out meanwhile is led to the sign-in, and not left with what stood still.
  let refused = false;
  document.addEventListener("htmx:sseError", event => {
    if (refused || event.detail.source.readyState !== EventSource.CLOSED) return;
    refused = true;
    htmx.ajax("GET", location.pathname + location.search, { swap: "none" });
  });
  document.addEventListener("htmx:sseOpen", () => refused = false);

  // A live page that renews itself may take away what has the focus. Its heading has it then, and nobody is thrown back to the top.
  let held = false;
  document.addEventListener("htmx:beforeSwap", event => {
    held = event.detail.target.contains(document.activeElement);
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (!held || document.activeElement !== document.body) return;
    held = false;
    const heading = document.querySelector("main h1");
    heading.tabIndex = -1;
    heading.focus();
  });

  // Passkeys: the browser asks the device, and the form carries the answer.
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) continue;
    form.hidden = false;
    for (const without of document.querySelectorAll("[data-passkey-without]")) without.hidden = true;
    const failed = form.querySelector("[data-passkey-failed]");
    form.addEventListener("submit", async event => {
      if (form.elements.answer.value) return;
      event.preventDefault();
      failed.hidden = true;
      try {
        let options = form.dataset.options;
        if (form.dataset.ask) {
          const asked = await (await fetch(form.dataset.ask)).json();
          options = asked.options;
          form.elements.state.value = asked.state;
        }
        const parsed = JSON.parse(options);
        const answer = form.dataset.passkey === "create"
          ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(parsed) })
          : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(parsed) });
        form.elements.answer.value = JSON.stringify(answer);
        form.requestSubmit();
      } catch {
        failed.hidden = false;
      }
    });
  }

  // A file that is too large is said to be so before it is on its way.
  for (const input of document.querySelectorAll("input[type=file][data-most]")) {
    input.addEventListener("change", () => {
      const large = [...input.files].some(file => file.size > Number(input.dataset.most));
      input.setCustomValidity(large ? input.dataset.larger : "");
      if (large) input.reportValidity();
    });
  }

  // A new district most likely lies where its administrator does.
  for (const zones of document.querySelectorAll("select[data-zone]")) {
    const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (!zones.value && [...zones.options].some(o => o.value === mine)) zones.value = mine;
  }

  // Paper cannot be unfolded: browsers that cannot be told so by a style sheet open everything for it.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.values:not([open])")];
    for (const values of opened) values.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const values of opened) values.open = false;
  });

  for (const button of document.querySelectorAll("[data-print]")) {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
})();
