using Microsoft.AspNetCore.DataProtection.EntityFrameworkCore;
using Microsoft.AspNetCore.Identity;
using Microsoft.AspNetCore.Identity.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage.ValueConversion;
using Rollcall.Audit;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Operations;
using Rollcall.Patrons;
using Rollcall.Retention;
using Rollcall.Review;
using Rollcall.SignIn;
using Rollcall.Sync.Pull;

namespace Rollcall.Storage;

/// <summary>The model of both databases. Names are snake_case, instants are UTC milliseconds, dates ISO text, keys compare by byte.</summary>
public abstract class RollcallContext(DbContextOptions options)
    : IdentityUserContext<
        Account,
        long,
        IdentityUserClaim<long>,
        IdentityUserLogin<long>,
        IdentityUserToken<long>,
        IdentityUserPasskey<long>
    >(options),
        IDataProtectionKeyContext
{
    /// <summary>The district whose rows alone this context sees (<see cref="RowSecurity"/>); null on the owner's connections.</summary>
    internal int? ConfinedTo { get; init; }

    /// <summary>The request whose connection this context has until it is disposed; null when it opens its own.</summary>
    internal Confinement? Lender { get; init; }

    public override void Dispose()
    {
        base.Dispose();
        Lender?.GiveBack();
        GC.SuppressFinalize(this);
    }

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        Lender?.GiveBack();
        GC.SuppressFinalize(this);
    }

    protected override Version SchemaVersion => IdentitySchemaVersions.Version3;

    public DbSet<District> Districts => Set<District>();
    public DbSet<DistrictTenant> DistrictTenants => Set<DistrictTenant>();
    public DbSet<InstallationSetting> InstallationSettings => Set<InstallationSetting>();
    public DbSet<Policy> Policies => Set<Policy>();
    public DbSet<GradeLevel> GradeLevels => Set<GradeLevel>();
    public DbSet<Site> Sites => Set<Site>();
    public DbSet<SiteDefault> SiteDefaults => Set<SiteDefault>();
    public DbSet<SiteOrg> SiteOrgs => Set<SiteOrg>();
    public DbSet<Integration> Integrations => Set<Integration>();
    public DbSet<Patron> Patrons => Set<Patron>();
    public DbSet<PatronLink> PatronLinks => Set<PatronLink>();
    public DbSet<SavedFilter> SavedFilters => Set<SavedFilter>();
    public DbSet<HomeroomPart> HomeroomParts => Set<HomeroomPart>();
    public DbSet<Operation> Operations => Set<Operation>();
    public DbSet<Change> Changes => Set<Change>();
    public DbSet<ReviewItem> ReviewItems => Set<ReviewItem>();
    public DbSet<SwitchRecord> SwitchRecords => Set<SwitchRecord>();
    public DbSet<AuditEntry> AuditEntries => Set<AuditEntry>();
    public DbSet<Account> Accounts => Set<Account>();
    public DbSet<Membership> Memberships => Set<Membership>();
    public DbSet<SignInSession> SignInSessions => Set<SignInSession>();
    public DbSet<OneTimeLink> OneTimeLinks => Set<OneTimeLink>();
    public DbSet<PendingSignIn> PendingSignIns => Set<PendingSignIn>();
    public DbSet<UsedCode> UsedCodes => Set<UsedCode>();
    public DbSet<AccessToken> AccessTokens => Set<AccessToken>();
    public DbSet<IdempotentRequest> IdempotentRequests => Set<IdempotentRequest>();
    public DbSet<NoticeSetting> NoticeSettings => Set<NoticeSetting>();
    public DbSet<Notice> Notices => Set<Notice>();
    public DbSet<RetentionSetting> RetentionSettings => Set<RetentionSetting>();
    public DbSet<DataProtectionKey> DataProtectionKeys => Set<DataProtectionKey>();

    protected override void ConfigureConventions(ModelConfigurationBuilder configurationBuilder)
    {
        configurationBuilder.Properties<DateTimeOffset>().HaveConversion<InstantConverter>();
        configurationBuilder.Properties<DateOnly>().HaveConversion<DateConverter>();
    }

    protected override void OnModelCreating(ModelBuilder builder)
    {
        base.OnModelCreating(builder);
        builder.Entity<Account>().ToTable("accounts");
        builder.Entity<IdentityUserClaim<long>>().ToTable("account_claims");
        builder.Entity<IdentityUserLogin<long>>().ToTable("account_logins");
        builder.Entity<IdentityUserToken<long>>().ToTable("account_tokens");
        builder.Entity<IdentityUserPasskey<long>>(e =>
        {
            // As the third version of the Identity schema has it; the base class leaves it out where it finds no services.
            e.ToTable("account_passkeys");
            e.HasKey(p => p.CredentialId);
            e.Property(p => p.CredentialId).HasMaxLength(1024);
            e.OwnsOne(p => p.Data).ToJson();
            e.HasOne<Account>().WithMany().HasForeignKey(p => p.UserId).IsRequired();
        });
        builder.Entity<Membership>(e =>
        {
            e.HasKey(m => new { m.DistrictId, m.AccountId });
            e.HasIndex(m => m.AccountId);
        });
        builder.Entity<SignInSession>(e =>
        {
            e.HasKey(s => s.Id);
            e.HasIndex(s => s.AccountId);
            e.HasIndex(s => new { s.DistrictId, s.PatronId });
            e.HasIndex(s => s.ExpiresAt);
        });
        builder.Entity<OneTimeLink>().HasKey(l => l.Id);
        builder.Entity<PendingSignIn>().HasKey(p => p.Id);
        builder.Entity<UsedCode>().HasKey(c => c.Id);
        builder.Entity<AccessToken>(e =>
        {
            e.HasKey(t => t.Id);
            e.Property(t => t.Id).ValueGeneratedOnAdd();
            e.HasIndex(t => t.Hash).IsUnique();
            e.HasIndex(t => t.DistrictId);
        });
        builder.Entity<IdempotentRequest>(e =>
        {
            e.HasKey(r => new { r.TokenId, r.Key });
            e.HasIndex(r => r.CreatedAt);
        });
        builder.Entity<District>(e =>
        {
            e.HasKey(d => d.Id);
            e.HasIndex(d => d.Code).IsUnique();
        });
        builder.Entity<DistrictTenant>(e =>
        {
            e.HasKey(t => t.TenantId);
            e.HasIndex(t => t.DistrictId);
        });
        builder.Entity<InstallationSetting>().HasKey(s => s.Key);
        builder.Entity<Policy>().HasKey(p => new { p.DistrictId, p.Code });
        builder.Entity<GradeLevel>().HasKey(g => new { g.DistrictId, g.Level });
        builder.Entity<Site>(e =>
        {
            e.HasKey(s => new { s.DistrictId, s.Id });
            e.Property(s => s.Id).ValueGeneratedNever();
            e.HasIndex(s => new { s.DistrictId, s.Code }).IsUnique();
        });
        builder
            .Entity<SiteDefault>()
            .HasKey(s => new
            {
                s.DistrictId,
                s.SiteId,
                s.RoleGroup,
            });
        builder
            .Entity<SiteOrg>()
            .HasKey(s => new
            {
                s.DistrictId,
                s.Kind,
                s.OrgId,
            });
        builder.Entity<Integration>().HasKey(i => new { i.DistrictId, i.Kind });
        builder.Entity<SwitchRecord>().HasKey(r => new { r.DistrictId, r.OperationId });
        builder.Entity<Patron>(e =>
        {
            e.HasKey(p => new { p.DistrictId, p.Id });
            e.Property(p => p.Id).ValueGeneratedNever();
            e.Ignore(p => p.DisplayName);
            e.Property(p => p.Version).IsConcurrencyToken();
            e.HasIndex(p => new { p.DistrictId, p.BarcodeKey }).IsUnique();
            e.HasIndex(p => new { p.DistrictId, p.Guid }).IsUnique().HasFilter("guid is not null");
            if (this is SqliteRollcallContext)
            {
                // SQLite looks through all that a list can be narrowed by without touching the ten times larger rows. PostgreSQL reads
                // its rows fast enough, and bounds the size of what an index holds. Without the barcode: SQLite, which knows no
                // numbers of rows, would look barcodes up by reading this index from end to end.
                e.HasIndex(p => new
                {
                    p.DistrictId,
                    p.NameKey,
                    p.Id,
                    p.SearchKey,
                    p.SiteId,
                    p.Status,
                    p.Level,
                });
            }
            else
            {
                e.HasIndex(p => new
                {
                    p.DistrictId,
                    p.NameKey,
                    p.Id,
                });
            }

            // How many there are of each: what lists are grouped by is counted without a look at the rows.
            e.HasIndex(p => new
            {
                p.DistrictId,
                p.SiteId,
                p.Status,
                p.Level,
            });

            // Lists in these orders, and programs that follow changes.
            e.HasIndex(p => new { p.DistrictId, p.UpdatedAt });
            e.HasIndex(p => new { p.DistrictId, p.CommunityId }).HasFilter("community_id is not null");
        });
        builder.Entity<PatronLink>(e =>
        {
            e.HasKey(l => new { l.DistrictId, l.PatronId });
            e.Property(l => l.PatronId).ValueGeneratedNever();
        });
        builder
            .Entity<HomeroomPart>()
            .HasKey(h => new
            {
                h.DistrictId,
                h.OperationId,
                h.Part,
            });
        builder
            .Entity<SavedFilter>()
            .HasKey(f => new
            {
                f.DistrictId,
                f.Owner,
                f.Name,
            });
        builder.Entity<Operation>(e =>
        {
            e.HasKey(o => o.Id);
            e.Property(o => o.Id).ValueGeneratedOnAdd();

            // The previous binary writes rows without it.
            e.Property(o => o.ActingGroup).HasDefaultValue(SecurityGroup.DistrictAdministrator).HasSentinel((SecurityGroup)(-1));
            e.Property(o => o.Expired).HasDefaultValue(false);
            e.Property(o => o.Takeovers).HasDefaultValue(0);
            e.HasIndex(o => new { o.DistrictId, o.Id });
            e.HasIndex(o => o.Status);
            e.HasIndex(o => o.FinishedAt, "unsettled").HasFilter(Database.IsNpgsql() ? "not settled" : "settled = 0");
            // Once a day, however many nodes look at the clock.
            e.HasIndex(o => new { o.DistrictId, o.DailyDate }).IsUnique().HasFilter("daily_date is not null");
            // Never two running operations of one district, whoever claims them.
            e.HasIndex(o => o.DistrictId, "running").IsUnique().HasFilter($"status = {(int)OperationStatus.Running}");
        });
        builder.Entity<Change>(e =>
        {
            e.HasKey(c => new
            {
                c.DistrictId,
                c.OperationId,
                c.Number,
            });
            e.Property(c => c.Number).ValueGeneratedNever();
            e.HasIndex(c => new
            {
                c.DistrictId,
                c.PatronId,
                c.OperationId,
                c.Number,
            });
        });
        builder.Entity<ReviewItem>(e =>
        {
            e.HasKey(r => new { r.DistrictId, r.Id });
            e.Property(r => r.Id).ValueGeneratedNever();
            e.HasIndex(r => new { r.DistrictId, r.RosterId }).IsUnique();
        });
        builder.Entity<NoticeSetting>(e =>
        {
            e.HasKey(n => n.DistrictId);
            e.Property(n => n.DistrictId).ValueGeneratedNever();
            e.Ignore(n => n.Addresses);
        });
        builder.Entity<RetentionSetting>(e =>
        {
            e.HasKey(r => r.DistrictId);
            e.Property(r => r.DistrictId).ValueGeneratedNever();
        });
        builder.Entity<Notice>(e =>
        {
            e.HasKey(n => n.Id);
            e.Property(n => n.Id).ValueGeneratedOnAdd();
            e.HasIndex(n => new { n.DistrictId, n.OperationId });
            e.HasIndex(n => n.DueAt).HasFilter($"status = {(int)NoticeStatus.Waiting}");
        });
        builder.Entity<AuditEntry>(e =>
        {
            e.HasKey(a => a.Id);
            e.Property(a => a.Id).ValueGeneratedOnAdd();
            e.HasIndex(a => new { a.DistrictId, a.Id });
        });

        foreach (var entity in builder.Model.GetEntityTypes())
        {
            if (entity.IsMappedToJson())
            {
                entity.SetContainerColumnName(Snake(entity.GetContainerColumnName()!));
                continue;
            }

            entity.SetTableName(Snake(entity.GetTableName()!));
            foreach (var property in entity.GetProperties())
            {
                property.SetColumnName(Snake(property.Name));
                if (
                    Database.IsNpgsql()
                    && (property.ClrType == typeof(string) || property.ClrType == typeof(DateOnly) || property.ClrType == typeof(DateOnly?))
                )
                {
                    // SQLite compares bytes; PostgreSQL has to be told to.
                    property.SetCollation("C");
                }
            }

            foreach (var index in entity.GetIndexes())
            {
                index.SetDatabaseName(
                    Snake($"ix_{entity.GetTableName()}_{index.Name ?? string.Join('_', index.Properties.Select(p => p.Name))}")
                );
            }
        }
    }

    internal static string Snake(string name)
    {
        var builder = new System.Text.StringBuilder(name.Length + 8);
        for (var i = 0; i < name.Length; i++)
        {
            if (char.IsAsciiLetterUpper(name[i]) && i > 0 && name[i - 1] != '_' && !char.IsAsciiLetterUpper(name[i - 1]))
            {
                builder.Append('_');
            }

            builder.Append(char.ToLowerInvariant(name[i]));
        }

        return builder.ToString();
    }

    internal sealed class InstantConverter()
        : ValueConverter<DateTimeOffset, long>(v => v.ToUnixTimeMilliseconds(), v => DateTimeOffset.FromUnixTimeMilliseconds(v));

    internal sealed class DateConverter()
        : ValueConverter<DateOnly, string>(
            v => v.ToString("yyyy-MM-dd", System.Globalization.CultureInfo.InvariantCulture),
            v => DateOnly.ParseExact(v, "yyyy-MM-dd", System.Globalization.CultureInfo.InvariantCulture)
        );
}

/// <summary>The model on SQLite.</summary>
public sealed class SqliteRollcallContext(DbContextOptions<SqliteRollcallContext> options) : RollcallContext(options);

/// <summary>The model on PostgreSQL.</summary>
public sealed class PostgresRollcallContext(DbContextOptions<PostgresRollcallContext> options) : RollcallContext(options);
