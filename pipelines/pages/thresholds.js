// Shows what other thresholds would have done on the test parts: cost, escapes, overkill and reviews.
const slider = document.getElementById("thresholds");
if (slider) {
  const {parts, cost, rate} = JSON.parse(document.getElementById("parts").textContent);
  const [low, high] = [...slider.querySelectorAll("input[type=range]")], choice = slider.querySelector("select");
  const start = [low.value, high.value], say = (name, text) => { slider.querySelector(`[data-say=${name}]`).textContent = text; };
  const percent = share => isNaN(share) ? "–" : (100 * share).toFixed(1) + " %";
  const update = moved => {
    if (+low.value > +high.value) { if (moved === low) high.value = low.value; else low.value = high.value; }
    const count = {bad: 0, good: 0, escapes: 0, overkill: 0, badReview: 0, goodReview: 0};
    for (const [slice, bad, score] of parts) {
      if (choice.value && slice !== choice.value) continue;
      count[bad ? "bad" : "good"]++;
      if (score < +low.value) count.escapes += bad;
      else if (score >= +high.value) count.overkill += 1 - bad;
      else count[bad ? "badReview" : "goodReview"]++;
    }
    const share = rate ?? count.bad / (count.bad + count.good);
    const each = (paid, n) => n ? paid / n : 0;
    const total = share * each(cost.escape * count.escapes + cost.review * count.badReview, count.bad)
      + (1 - share) * each(cost.overkill * count.overkill + cost.review * count.goodReview, count.good);
    say("low", (+low.value).toFixed(3)); say("high", (+high.value).toFixed(3)); say("cost", total.toPrecision(3));
    say("escapes", `${count.escapes} of ${count.bad} (${percent(count.escapes / count.bad)})`);
    say("overkill", `${count.overkill} of ${count.good} (${percent(count.overkill / count.good)})`);
    say("review", percent(share * each(count.badReview, count.bad) + (1 - share) * each(count.goodReview, count.good)));
  };
  for (const input of [low, high]) input.addEventListener("input", () => update(input));
  choice.addEventListener("change", () => update(low));
  slider.querySelector("button").addEventListener("click", () => { [low.value, high.value] = start; update(low); });
  update(low);
}
