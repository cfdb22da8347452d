using Microsoft.EntityFrameworkCore.Migrations;

#nullable disable

namespace Rollcall.Storage.Migrations.Sqlite
{
    /// <inheritdoc />
    public partial class DailyOperations : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<string>(
                name: "daily_date",
                table: "operations",
                type: "TEXT",
                nullable: true);

            migrationBuilder.CreateIndex(
                name: "ix_operations_district_id_daily_date",
                table: "operations",
                columns: new[] { "district_id", "daily_date" },
                unique: true,
                filter: "daily_date is not null");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropIndex(
                name: "ix_operations_district_id_daily_date",
                table: "operations");

            migrationBuilder.DropColumn(
                name: "daily_date",
                table: "operations");
        }
    }
}
