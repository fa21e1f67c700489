"""A course taken to its end, told by the ids of its epochs."""

import numpy as np

from attent import Done, Score


def drive(course, losses):
    """Take a course to its end; ``losses(epoch)`` gives every example's loss. Return the ids of each epoch."""
    taught, seen = [], []
    while not isinstance(lesson := course.next(), Done):
        epoch = course.epoch
        if isinstance(lesson, Score):
            seen.append((epoch, lesson.ids.tolist()))
            course.record(losses(epoch)[lesson.ids])
            continue
        ids = np.concatenate(lesson.batches)
        if course.step == 0 or not taught:
            taught.append([])
        taught[-1] += ids.tolist()
        course.record(losses(epoch)[ids])
    return [sorted(ids) for ids in taught], seen
