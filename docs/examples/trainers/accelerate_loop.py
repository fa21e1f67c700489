"""A small network learns handwritten digits on whatever devices there are, by accelerate's loop."""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

from attent.data import digits
from attent_torch import Plan, Teacher

torch.manual_seed(0)
accelerator = Accelerator()
d = digits()
train = TensorDataset(torch.from_numpy(d.x_train / 16).float(), torch.from_numpy(d.y_train).long())
test = torch.from_numpy(d.x_test / 16).float(), torch.from_numpy(d.y_test).long()
loader = DataLoader(train, batch_size=32, shuffle=True)

model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * len(loader))
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
teacher = Teacher(Plan.auto(epochs=5, batch_size=32 * accelerator.num_processes), loader, scheduler=scheduler)

for epoch in range(5):
    model.train()
    for x, y in teacher(loader):
        loss = teacher.record(F.cross_entropy(model(x), y, reduction="none"))
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(test[0].to(accelerator.device)).argmax(1).cpu() == test[1]).float().mean().item()
    accelerator.print(epoch, round(accuracy, 3))
