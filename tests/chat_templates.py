"""Chat templates in the manner of those that models come with; with the families' special tokens."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] + '</s>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TRIMMED = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "{{ '[INST] ' + message.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)

ROLE_IN_A_TOKEN = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '</s>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
)
"""As Phi-4-mini: a role can make a control token with what is around it."""

NAMED = (
    "{% for message in messages %}<|im_start|>{{ message.role }}"
    "{% if message.name %}={{ message.name }}{% endif %}\n"
    "{{ message | tojson }}{{ message.content }}</s>{% endfor %}<|im_start|>assistant\n"
)
"""Writes a message with its keys, and two fields side by side."""

LOOKS_INSIDE = (
    "{% for message in messages %}{% set content = message.content %}"
    "{% if '/no_think' in content %}{% set content = content.replace('/no_think', '') %}{% endif %}"
    "{% if '<tool>' in content %}{% set content = content.split('<tool>')[-1] %}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ content }}</s>\n{% endfor %}<|im_start|>assistant\n"
)
"""As SmolLM3 and Qwen3: looks for words, and for a token, in a content."""

THINKING = (
    "{% for message in messages %}{% set content = message.content %}"
    "{% if message.role == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "<|im_start|>{{ message.role }}\n{{ content }}</s>\n{% endfor %}<|im_start|>assistant\n<think>\n</think>"
)
"""As Qwen3: leaves out what the assistant has thought."""

CALLS_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}"
    "</s>\n{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}"
    '\n<tool_call>\n{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Hermes and Qwen 2.5: knows tools."""

TEMPLATES = {
    "chatml": CHATML,
    "trimmed": TRIMMED,
    "role in a token": ROLE_IN_A_TOKEN,
    "named": NAMED,
    "looks inside": LOOKS_INSIDE,
}
