namespace Rollcall.Sandbox.District;

/// <content>What happens in a district from one day to the next.</content>
internal sealed partial class World
{
    private const int Window = 30;
    private readonly HashSet<int> _touched = [];
    private readonly List<Happening> _happenings = [];

    /// <summary>What happened, in order.</summary>
    public IReadOnlyList<SandboxEvent> Events =>
        new Made<SandboxEvent>(
            _happenings.Count,
            i =>
            {
                var (day, kind, number, detail) = _happenings[i];
                var person = new Person(this, number);
                return new SandboxEvent(day, kind, person.Id, person.Group, detail);
            }
        );

    private void LiveThroughDay(Chance chance)
    {
        _touched.Clear();
        if (_purges.Remove(Day, out var due))
        {
            foreach (var each in due.Where(p => p.Presence == SandboxPresence.Deleted && p.PurgeOn == Day))
            {
                var person = each;
                person.Presence = SandboxPresence.Gone;
                _touched.Add(person.Number);
                TouchRelatives(person);
                Note(SandboxEventKind.Purged, person, "");
            }
        }

        double size = Options.Students;
        var atLeastOne = size >= 50 ? 1 : 0;
        Repeat(Math.Max(atLeastOne, chance.Round(size * 0.0011)), () => StudentLeaves(chance));
        Repeat(chance.Round(size * 0.0003), () => StudentReturns(chance));
        Repeat(Math.Max(atLeastOne, chance.Round(size * 0.0009)), () => FamilyArrives(chance));
        Repeat(Math.Max(atLeastOne, chance.Round(size * 0.0008)), () => StudentMoves(chance));
        Repeat(chance.Round(size * 0.0005), () => StudentRenamed(chance));
        Repeat(chance.Round(size * 0.0002), () => StudentRegraded(chance));
        Repeat(chance.Round(size * 0.001), () => StudentChangesHomeroom(chance));
        Repeat(chance.Round(size * 0.0006), () => StudentChangesEmail(chance));
        Repeat(chance.Round(size * 0.0002), () => BirthDateCorrected(chance));
        Repeat(chance.Round(size * 0.001), () => GuardianChanges(chance));
        Repeat(chance.Round(size * 0.00006), () => StaffLeaves(chance));
        Repeat(chance.Round(size * 0.00007), () => StaffArrives(chance));
        Repeat(chance.Round(size * 0.00005), () => StaffRenamed(chance));
    }

    private static void Repeat(int times, Action action)
    {
        for (var i = 0; i < times; i++)
        {
            action();
        }
    }

    private void Note(SandboxEventKind kind, Person person, string detail) =>
        _happenings.Add(new Happening(Day, kind, person.Number, detail));

    private Person? Pick(List<int> from, Chance chance, Func<Person, bool>? also = null)
    {
        for (var attempt = 0; attempt < 40; attempt++)
        {
            var person = new Person(this, from[chance.Below(from.Count)]);
            if (person.Presence == SandboxPresence.Present && !_touched.Contains(person.Number) && (also is null || also(person)))
            {
                _touched.Add(person.Number);
                return person;
            }
        }

        return null;
    }

    /// <summary>A library holds the leavers of a school when they are many. A normal month must stay below that.</summary>
    private bool MayLeave(Person person)
    {
        if (person.School < 0)
        {
            return false;
        }

        var school = Schools[person.School];
        var left = school.Leaves[(int)person.Group];
        while (left.TryPeek(out var day) && day <= Day - Window)
        {
            left.Dequeue();
        }

        var present = school.Present[(int)person.Group];
        return person.Role == Role.Student
            ? present >= 6 && (left.Count + 1 <= present * 0.08 || (left.Count < 8 && left.Count + 1 <= present / 4))
            : present >= 3 && left.Count == 0;
    }

    private void CountLeave(Person person)
    {
        var school = Schools[person.School];
        school.Present[(int)person.Group]--;
        school.Leaves[(int)person.Group].Enqueue(Day);
    }

    private void StudentLeaves(Chance chance)
    {
        if (Pick(_students, chance, MayLeave) is not { } student)
        {
            return;
        }

        CountLeave(student);
        if (chance.Percent(60))
        {
            Delete(student, Day, 3 + chance.Below(8), quiet: false);
        }
        else
        {
            Vanish(student);
        }

        _leavers.Add(student.Number);
    }

    private void Delete(Person student, int on, int days, bool quiet)
    {
        if (quiet)
        {
            Schools[student.School].Present[(int)SandboxRoleGroup.Student]--;
            _leavers.Add(student.Number);
        }

        foreach (var each in WithoutChildren(student))
        {
            var person = each;
            person.Presence = SandboxPresence.Deleted;
            person.Modified = on;
            person.PurgeOn = Math.Max(on + days, Day + 1);
            person.DemographicsModified = on;
            if (!_purges.TryGetValue(person.PurgeOn, out var due))
            {
                _purges.Add(person.PurgeOn, due = []);
            }

            due.Add(person);
            if (!quiet)
            {
                Note(SandboxEventKind.Deleted, person, "");
            }
        }
    }

    private void Vanish(Person student)
    {
        foreach (var each in WithoutChildren(student))
        {
            var person = each;
            person.Presence = SandboxPresence.Gone;
            TouchRelatives(person);
            Note(SandboxEventKind.Vanished, person, "");
        }
    }

    // The student, and the guardians who have no other child here.
    private static List<Person> WithoutChildren(Person student)
    {
        List<Person> going = [student];
        var home = student.Household!.Value;
        if (!Array.Exists(home.Children, child => child != student && child.Presence == SandboxPresence.Present))
        {
            going.AddRange(home.Guardians.Where(g => g.Presence == SandboxPresence.Present));
        }

        return going;
    }

    // Their lists of agents changed.
    private void TouchRelatives(Person person)
    {
        foreach (var relative in person.Relatives)
        {
            var other = relative;
            if (IsServed(other))
            {
                other.Modified = Day;
            }
        }
    }

    private void StudentReturns(Chance chance)
    {
        if (_leavers.Count == 0)
        {
            return;
        }

        var index = chance.Below(_leavers.Count);
        var student = new Person(this, _leavers[index]);
        if (student.Presence == SandboxPresence.Present || !_touched.Add(student.Number))
        {
            return;
        }

        _leavers[index] = _leavers[^1];
        _leavers.RemoveAt(_leavers.Count - 1);
        var home = student.Household!.Value;
        var alone = !Array.Exists(home.Children, child => child.Presence == SandboxPresence.Present);
        Revive(student);
        Schools[student.School].Present[(int)SandboxRoleGroup.Student]++;
        student.EnrolledOn = Day;
        student.DemographicsModified = Day;
        student.FormerRoom = null;
        student.RoomSince = student.OtherRoomsSince = Day;
        foreach (var guardian in home.Guardians)
        {
            if (alone && guardian.Presence != SandboxPresence.Present)
            {
                Revive(guardian);
            }
        }
    }

    private void Revive(Person person)
    {
        if (person.Presence == SandboxPresence.Gone)
        {
            TouchRelatives(person);
        }

        person.Presence = SandboxPresence.Present;
        person.Modified = Day;
        person.PurgeOn = 0;
        Note(SandboxEventKind.Returned, person, "");
    }

    private void FamilyArrives(Chance chance)
    {
        var before = Persons.Count;
        AddHousehold(chance, chance.Percent(70) ? 1 : 2, chance.Below(Schools.Length));
        for (var number = before + 1; number <= Persons.Count; number++)
        {
            var person = new Person(this, number);
            _touched.Add(number);
            if (person.Role == Role.Student)
            {
                Seat(person, chance);
                person.LastYearRoom = null;
            }

            Note(SandboxEventKind.Arrived, person, "");
        }
    }

    private void StudentMoves(Chance chance)
    {
        if (Schools.Length < 2 || Pick(_students, chance, p => p.Other < 0 && MayLeave(p)) is not { } student)
        {
            return;
        }

        var others = Schools.Where(s => s.Index != student.School && student.Grade >= s.Low && student.Grade <= s.High).ToArray();
        if (others.Length == 0)
        {
            return;
        }

        var from = Schools[student.School];
        var to = chance.Of(others);
        CountLeave(student);
        student.School = to.Index;
        to.Present[(int)SandboxRoleGroup.Student]++;
        ModifyUnlessQuiet(student);
        student.EnrolledOn = Day;
        ChangeRoom(student, to, chance);
        student.LastYearRoom = null;
        Note(SandboxEventKind.Moved, student, $"{from.Id} -> {to.Id}");
    }

    private void ChangeRoom(Person student, School school, Chance chance)
    {
        var (first, count) = (school.FirstRoom[student.Grade], school.RoomCount[student.Grade]);
        var former = student.Room;
        var choice = Enumerable.Range(first, count).Where(room => room != former?.Number).ToArray();
        student.Room = new Klass(this, choice.Length == 0 ? first : chance.Of(choice));
        student.RoomSince = Day;
        student.FormerRoom = former == student.Room ? null : former;
    }

    private void StudentRenamed(Chance chance)
    {
        if (Pick(_students, chance) is { } student)
        {
            Rename(student, chance, student.Relatives);
        }
    }

    private void StaffRenamed(Chance chance)
    {
        if (Pick(_staff, chance) is { } person)
        {
            Rename(person, chance, []);
        }
    }

    private void Rename(Person person, Chance chance, Person[] relatives)
    {
        var old = person.Family;
        var relative = Array.FindIndex(relatives, g => g.Family.Text != old.Text);
        var other = relative >= 0 ? relatives[relative].Family : chance.Of(Names.Families);
        if (other.Text == old.Text)
        {
            other = Names.UnusualFamilies[0];
        }

        person.Family = chance.Percent(40) && old.Text.Length < 40 ? Join(old, other) : other;
        person.Modified = Day;
        Note(SandboxEventKind.Renamed, person, $"{old.Text} -> {person.Family.Text}");
    }

    private void StudentRegraded(Chance chance)
    {
        if (Pick(_students, chance, p => p.Other < 0) is not { } student)
        {
            return;
        }

        var school = Schools[student.School];
        var grade = student.Grade + (chance.Percent(50) ? 1 : -1);
        if (grade < school.Low || grade > school.High)
        {
            return;
        }

        var old = student.Grade;
        student.Grade = grade;
        student.Modified = Day;
        student.EnrolledOn = Day;
        ChangeRoom(student, school, chance);
        Note(SandboxEventKind.Regraded, student, $"{Grades[old]} -> {Grades[grade]}");
    }

    private void StudentChangesHomeroom(Chance chance)
    {
        if (Pick(_students, chance, p => p.Room is not null && Schools[p.School].RoomCount[p.Grade] > 1) is { } student)
        {
            var old = student.Room!.Value.Id;
            ChangeRoom(student, Schools[student.School], chance);
            Note(SandboxEventKind.HomeroomChanged, student, $"{old} -> {student.Room.Value.Id}");
        }
    }

    private void StudentChangesEmail(Chance chance)
    {
        if (Pick(_students, chance) is { } student)
        {
            ChangeEmail(student);
        }
    }

    private void ChangeEmail(Person person)
    {
        var old = Email(person);
        person.Email = EmailForm.Own;
        person.EmailRevision++;
        ModifyUnlessQuiet(person);
        Note(SandboxEventKind.EmailChanged, person, $"{old} -> {Email(person)}");
    }

    /// <summary>A change that many providers do not date.</summary>
    private void ModifyUnlessQuiet(Person person)
    {
        if (!Options.QuietDates)
        {
            person.Modified = Day;
        }
    }

    private void BirthDateCorrected(Chance chance)
    {
        if (Pick(_students, chance, HasDemographics) is { Birth: > 0 } student)
        {
            var old = student.Birth;
            student.Birth += chance.Percent(50) ? 1 : -30;
            student.DemographicsModified = Day;
            Note(
                SandboxEventKind.BirthDateCorrected,
                student,
                $"{DateOnly.FromDayNumber(old):yyyy-MM-dd} -> {DateOnly.FromDayNumber(student.Birth):yyyy-MM-dd}"
            );
        }
    }

    private void GuardianChanges(Chance chance)
    {
        if (Pick(_students, chance)?.Household is not { } home)
        {
            return;
        }

        var roll = chance.Below(100);
        var present = home.Guardians.Where(g => g.Presence == SandboxPresence.Present).ToArray();
        if (present.Length == 0 || roll >= 90)
        {
            if (home.Guardians.Length < 4)
            {
                var guardian = AddGuardian(home, 1, chance);
                if (!_laterGuardians.TryGetValue(home.Number, out var later))
                {
                    _laterGuardians.Add(home.Number, later = []);
                }

                later.Add(guardian);
                TouchRelatives(guardian);
                Note(SandboxEventKind.Arrived, guardian, "");
            }

            return;
        }

        var one = chance.Of(present);
        if (roll < 40)
        {
            ChangeEmail(one);
        }
        else if (roll < 80 || present.Length < 2)
        {
            var old = Phone(one);
            one.HasPhone = true;
            one.PhoneRevision++;
            one.Modified = Day;
            Note(SandboxEventKind.PhoneChanged, one, $"{old} -> {Phone(one)}");
        }
        else
        {
            one.Presence = SandboxPresence.Deleted;
            one.Modified = Day;
            one.PurgeOn = Day + 3 + chance.Below(8);
            if (!_purges.TryGetValue(one.PurgeOn, out var due))
            {
                _purges.Add(one.PurgeOn, due = []);
            }

            due.Add(one);
            Note(SandboxEventKind.Deleted, one, "");
        }
    }

    private void StaffLeaves(Chance chance)
    {
        if (Pick(_staff, chance, MayLeave) is not { } person)
        {
            return;
        }

        CountLeave(person);
        person.Presence = SandboxPresence.Gone;
        Note(SandboxEventKind.Vanished, person, "");
        var school = Schools[person.School];
        if (!school.Teachers.Remove(person.Number))
        {
            return;
        }

        for (var i = 0; i < school.ClassCount; i++)
        {
            var klass = new Klass(this, school.FirstClass + i);
            if (klass.Teacher == person)
            {
                klass.Teacher = new Person(this, school.Teachers[chance.Below(school.Teachers.Count)]);
                klass.TeacherSince = Day;
            }

            if (klass.SecondTeacher == person || klass.SecondTeacher == klass.Teacher)
            {
                klass.SecondTeacher = null;
            }
        }
    }

    private void StaffArrives(Chance chance)
    {
        var role =
            chance.Percent(70) ? Role.Teacher
            : chance.Percent(60) ? Role.Aide
            : Role.Administrator;
        Note(SandboxEventKind.Arrived, AddStaffMember(chance, role, Schools[chance.Below(Schools.Length)]), "");
    }

    private readonly record struct Happening(int Day, SandboxEventKind Kind, int Number, string Detail);
}
