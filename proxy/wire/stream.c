#include "proxy/wire/stream.h"

void stream_own(struct stream *s, struct task *task, unsigned note_shift)
{
    unsigned waiting = s->noted;

    s->owner = task;
    s->note_shift = note_shift;
    s->noted = 0;
    if (task && waiting)
        task_note(task, waiting << note_shift);
}

void stream_note(struct stream *s, unsigned bits)
{
    if (s->owner)
        task_note(s->owner, bits << s->note_shift);
    else
        s->noted |= bits;
}
