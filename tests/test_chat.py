"""The one template: what stands around a query and an answer."""

import pytest
from conftest import CHATML, make_tokenizer
from transformers import AutoTokenizer

from qaq import chat


def tokenizer(tmp_path, template):
    make_tokenizer(tmp_path, template=template)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_a_frame_is_the_rendered_conversation_cut_at_its_contents(tmp_path):
    made = tokenizer(tmp_path, CHATML)
    frame = chat.frame(made, "Be brief.")
    turns = [("system", "Be brief."), ("user", "2+2?"), ("assistant", "4")]
    text = made.apply_chat_template([{"role": r, "content": c} for r, c in turns], tokenize=False)
    assert frame.prompt("2+2?") + "4" + frame.tail == text
    asked = made.apply_chat_template([{"role": r, "content": c} for r, c in turns[:2]], tokenize=False,
                                     add_generation_prompt=True)  # fmt: skip
    assert frame.prompt("2+2?") == asked


def test_thinking_is_switched_off_where_the_template_knows_the_switch(tmp_path):
    thinking = CHATML.replace("m['content']", "('' if enable_thinking else '<no>') + m['content']")
    assert chat.frame(tokenizer(tmp_path, thinking), None).head.endswith("<no>")


@pytest.mark.parametrize(("template", "message"), [
    (None, "has no chat template: set template_id or template_path"),
    ("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "changes what it is given"),
    ("{{ messages[0]['content'] }}", "changes what it is given"),
])  # fmt: skip
def test_a_template_that_cannot_be_trusted_is_refused(tmp_path, template, message):
    with pytest.raises(ValueError, match=message):
        chat.frame(tokenizer(tmp_path, template), None)
